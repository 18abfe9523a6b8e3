"""Hands out access tokens of accounts that work, whatever was done to them: an operation may log them out, change their
password or delete them. Schemathesis asks here whenever it is answered 401.
"""

import http.server
import itertools
import json
import threading
import urllib.error
import urllib.request

PASSWORD = "correct horse battery staple"
# Users who must not see each other's objects; each has a tenant.
USERS = ("ann", "eve")


class Logins:
    """A server on a free port of this machine, from entry to exit."""

    def __init__(self, edge: str):
        self.edge = edge
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.emails: dict[str, str] = {}
        logins = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.dumps({"token": logins.token(self.path.strip("/"))}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> "Logins":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self, user: str) -> str:
        """A token of a new login, of a new account where the old one lets nobody in."""
        with self.lock:
            if email := self.emails.get(user):
                try:
                    return self.ask("login", {"email": email, "password": PASSWORD})
                except urllib.error.HTTPError:
                    pass
            email = f"{user}-{next(self.numbers)}@accounts.example"
            token = self.ask(
                "register", {"email": email, "password": PASSWORD, "firstName": user.title(), "lastName": "Test"}
            )
            self.emails[user] = email
            return token

    def ask(self, operation: str, body: dict) -> str:
        request = urllib.request.Request(
            f"{self.edge}/api/v5/auth/{operation}",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]["token"]

    def description(self) -> dict:
        """For schemathesis, in the format of Web Fuzzing Commons."""
        host, port = self.server.server_address[:2]
        token = {
            "extractFrom": "body",
            "extractSelector": "/token",
            "sendIn": "header",
            "sendName": "Authorization",
            "sendTemplate": "Bearer {token}",
        }
        login = lambda user: {"verb": "POST", "externalEndpointURL": f"http://{host}:{port}/{user}", "token": token}
        return {"auth": [{"name": user, "loginEndpointAuth": login(user)} for user in USERS]}
