import json
import threading
import unittest
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer

from shop.service import Handler


class Service(unittest.TestCase):
    """Through a real socket."""

    @classmethod
    def setUpClass(cls):
        cls.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        cls.thread = threading.Thread(target=cls.server.serve_forever, args=(0.05,))
        cls.thread.start()

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.thread.join()
        cls.server.server_close()

    def get(self, path):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.server.server_port}{path}", timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def test_it_is_healthy(self):
        status, body = self.get("/health")
        self.assertEqual((status, body["status"]), (200, "ok"))

    def test_it_lists_its_products(self):
        status, body = self.get("/products")
        self.assertEqual((status, len(body["products"])), (200, 3))

    def test_it_quotes_a_price(self):
        status, body = self.get("/price?sku=mug&quantity=2")
        self.assertEqual((status, body["net"]), (200, 1800))

    def test_it_refuses_what_it_does_not_understand(self):
        self.assertEqual(self.get("/price?sku=unicorn")[0], 404)
        self.assertEqual(self.get("/price?sku=mug&quantity=many")[0], 400)
        self.assertEqual(self.get("/nowhere")[0], 404)
