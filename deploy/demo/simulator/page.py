"""A page for a person who opens the simulator's address: what it is, what time it is there, what it holds."""

from datetime import UTC, datetime
from html import escape

from deploy.demo.simulator.simulation import Simulation

SHOWN = (
    "customer", "subscription", "invoice", "payment_intent", "charge", "refund", "dispute", "credit_note",
    "checkout.session", "payout",
)  # fmt: skip

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#1a1f36;
background:#f6f8fa}
main{background:#fff;border-radius:12px;padding:2rem;box-shadow:0 2px 12px #0001}
h1{font-size:1.4rem;margin:0 0 .25rem}time{font-size:2rem;font-variant-numeric:tabular-nums;color:#635bff}
table{border-collapse:collapse;width:100%;margin:1rem 0}td{padding:.3rem 0;border-top:1px solid #eee}
td+td{text-align:right;font-variant-numeric:tabular-nums}code{background:#f0f0f5;padding:.1em .3em;border-radius:4px}
@media(prefers-color-scheme:dark){body{background:#14151f;color:#e6e6f0}main{background:#1f2130}
td{border-color:#333}code{background:#2a2c40}}
"""


def show(simulation: Simulation) -> str:
    """The page, as HTML."""
    kinds = simulation.account.store.kinds()
    counts = {kind.replace("_", " ").replace(".", " ") + "s": len(kinds.get(kind, ())) for kind in SHOWN}
    counts |= {
        "events": simulation.deliveries.counts["events"],
        "deliveries accepted": simulation.deliveries.counts["accepted"],
    }
    counts |= {"deliveries pending": simulation.deliveries.pending}
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{count:,}</td></tr>" for name, count in counts.items())
    now = datetime.fromtimestamp(simulation.account.now(), UTC)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>A simulated Stripe</title><style>{STYLE}</style></head><body><main>"
        "<h1>A simulated Stripe</h1><p>No money moves here. It is "
        f'<br><time datetime="{now.isoformat()}">{now:%A, %d %B %Y, %H:%M:%S}</time> UTC</p>'
        f"<table>{rows}</table>"
        "<p>Point Stripe's SDK here with any key that begins with <code>sk_test_</code>. The clock, the faults and the "
        "books are under <code>/_sim/</code>: see <code>docs/simulator.md</code>.</p></main></body></html>"
    )
