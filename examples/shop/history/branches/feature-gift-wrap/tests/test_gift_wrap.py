import unittest

from shop import prices
from shop.service import answer


class GiftWrap(unittest.TestCase):
    def test_a_basket_is_wrapped_once_whatever_is_in_it(self):
        plain, wrapped = prices.quote("mug", 3), prices.quote("mug", 3, gift_wrap=True)
        self.assertEqual(wrapped["net"] - plain["net"], prices.GIFT_WRAP_CENTS)

    def test_wrapping_is_taxed(self):
        quote = prices.quote("tea", 1, gift_wrap=True)
        self.assertEqual((quote["net"], quote["tax"]), (900, 171))

    def test_nobody_gets_it_unasked(self):
        self.assertFalse(answer("/price?sku=mug")[1]["gift_wrap"])
        self.assertTrue(answer("/price?sku=mug&gift_wrap=yes")[1]["gift_wrap"])
