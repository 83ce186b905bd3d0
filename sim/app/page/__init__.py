"""The local page and the JSON API that it is a client of. Binds to loopback; questions are answered in processes of their own."""
