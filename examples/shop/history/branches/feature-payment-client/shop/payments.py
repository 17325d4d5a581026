"""Asks the payment desk whether an order is paid."""

import json
import urllib.request

PAYMENT_DESK = "https://desk.payments.example/v1/orders/"
# Not a real one: the payment desk does not exist. The review must find it all the same.
PAYMENT_TOKEN = "example-4f9c2e71b8d04a6c9e35d7"


def request(order):
    """The request that asks about an order."""
    return urllib.request.Request(
        f"{PAYMENT_DESK}{int(order)}", headers={"Authorization": f"Bearer {PAYMENT_TOKEN}"}
    )


def is_paid(order):
    """Whether the payment desk has the money."""
    with urllib.request.urlopen(request(order), timeout=5) as reply:
        return json.load(reply)["status"] == "paid"
