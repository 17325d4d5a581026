import unittest

from shop import payments


class Payments(unittest.TestCase):
    def test_it_asks_about_the_order(self):
        self.assertTrue(payments.request(7).full_url.endswith("/orders/7"))
