import unittest

from shop import catalogue


class Catalogue(unittest.TestCase):
    def test_every_product_has_a_name_and_a_price(self):
        for product in catalogue.listing():
            self.assertTrue(product["name"])
            self.assertGreater(product["cents"], 0)

    def test_an_unknown_product_is_none(self):
        self.assertIsNone(catalogue.find("unicorn"))
