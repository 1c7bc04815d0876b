"""The HTTP gateway, `maskq serve`: a REST interface to the client for programs in any language. Needs `maskq[gateway]`.

No other module of the producer imports it.
"""
