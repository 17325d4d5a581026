"""What a basket costs. Everything is whole cents, so that nothing is lost in rounding."""

from shop import catalogue

TAX_PER_CENT = 19


def net(sku, quantity):
    """The price of some pieces, without tax."""
    return catalogue.find(sku)["cents"] * quantity


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
