import unittest

from shop.service import answer


class Quantity(unittest.TestCase):
    def test_nobody_buys_less_than_one_piece(self):
        for quantity in (0, -3, 1001):
            self.assertEqual(answer(f"/price?sku=mug&quantity={quantity}")[0], 400)
        self.assertEqual(answer("/price?sku=mug&quantity=1000")[0], 200)
