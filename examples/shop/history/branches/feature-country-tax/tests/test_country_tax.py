import unittest

from shop import prices


class CountryTax(unittest.TestCase):
    def test_each_country_has_its_own(self):
        self.assertEqual(prices.tax(1000, "DE"), 190)
        self.assertEqual(prices.tax(1000, "AT"), 200)

    def test_it_is_rounded_half_up(self):
        self.assertEqual(prices.tax(50, "DE"), 10)
