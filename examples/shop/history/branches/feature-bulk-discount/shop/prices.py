"""What a basket costs. Everything is whole cents, so that nothing is lost in rounding."""

from shop import catalogue

TAX_PER_CENT = 19


BULK_PIECES = 10
BULK_PER_CENT = 10


def net(sku, quantity):
    """The price of some pieces, without tax."""
    amount = catalogue.find(sku)["cents"] * quantity
    if quantity > BULK_PIECES:
        amount -= amount * BULK_PER_CENT // 100
    return amount


def tax(cents):
    """The tax on an amount, rounded half up."""
    return (cents * TAX_PER_CENT + 50) // 100


def quote(sku, quantity):
    """Everything a customer wants to know about a price."""
    amount = net(sku, quantity)
    return {
        "sku": sku,
        "quantity": quantity,
        "net": amount,
        "tax": tax(amount),
        "gross": amount + tax(amount),
    }
