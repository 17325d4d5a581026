"""What the shop sells. Prices are whole cents, without tax."""

PRODUCTS = {
    "mug": {"name": "Mug", "cents": 900},
    "tea": {"name": "Green tea, 100 g", "cents": 650},
    "pot": {"name": "Tea pot", "cents": 2900},
}


def listing():
    """Every product, in the order of the catalogue."""
    return [{"sku": sku, **product} for sku, product in PRODUCTS.items()]


def find(sku):
    """The product, or None."""
    return PRODUCTS.get(sku)
