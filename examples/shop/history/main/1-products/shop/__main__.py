"""Serves the shop: SHOP_PORT says where."""

import os

from shop.service import serve

if __name__ == "__main__":
    serve(int(os.environ.get("SHOP_PORT", "9200")))
