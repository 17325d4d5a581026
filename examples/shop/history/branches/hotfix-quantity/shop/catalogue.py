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


def pieces(text):
    """A quantity that can be sold: a basket of minus three mugs was a credit note for anybody."""
    quantity = int(text)
    if not 1 <= quantity <= 1000:
        raise ValueError("quantity must be from 1 to 1000")
    return quantity
