"""What a basket costs. Everything is whole cents, so that nothing is lost in rounding."""

from shop import catalogue

TAX_PER_CENT = 19


def net(sku, quantity):
    """The price of some pieces, without tax."""
    return catalogue.find(sku)["cents"] * quantity


def tax(cents):
    """The tax on an amount, rounded half up."""
    return (cents * TAX_PER_CENT + 50) // 100


GIFT_WRAP_CENTS = 250


def quote(sku, quantity, gift_wrap=False):
    """Everything a customer wants to know about a price."""
    amount = net(sku, quantity) + (GIFT_WRAP_CENTS if gift_wrap else 0)
    return {
        "sku": sku,
        "quantity": quantity,
        "gift_wrap": gift_wrap,
        "net": amount,
        "tax": tax(amount),
        "gross": amount + tax(amount),
    }
