import unittest

from shop import prices


class Prices(unittest.TestCase):
    def test_pieces_add_up(self):
        self.assertEqual(prices.net("mug", 3), 2700)

    def test_tax_is_rounded_half_up(self):
        self.assertEqual(prices.tax(650), 124)
        self.assertEqual(prices.tax(50), 10)

    def test_a_quote_is_net_and_tax(self):
        quote = prices.quote("tea", 1)
        self.assertEqual((quote["net"], quote["tax"], quote["gross"]), (650, 124, 774))
