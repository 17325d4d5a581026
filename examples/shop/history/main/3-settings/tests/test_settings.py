import unittest

from shop import settings


class Settings(unittest.TestCase):
    def test_nothing_required_is_missing(self):
        self.assertEqual(settings.missing(), [])
