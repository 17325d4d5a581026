import unittest

from shop import prices


class BulkDiscount(unittest.TestCase):
    def test_nine_pieces_cost_the_full_price(self):
        self.assertEqual(prices.net("mug", 9), 8100)

    def test_ten_pieces_are_ten_per_cent_cheaper(self):
        self.assertEqual(prices.net("mug", 10), 8100)
