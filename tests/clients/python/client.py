"""python-meteor, driven by lines of JSON: requests on standard input, answers on standard output.

A request is {"id", "do", "params"}; its answer is {"id", "result"} or {"id", "error"}. An instant is {"$date": ms}.
"""

import json
import logging
import sys
import threading
from datetime import datetime

from MeteorClient import MeteorClient

output = threading.Lock()


def write(message):
    def plain(value):
        if isinstance(value, datetime):
            return {"$date": round(value.timestamp() * 1000)}
        raise TypeError(f"no JSON for {value!r}")

    line = json.dumps(message, default=plain)
    with output:
        print(line, flush=True)


class Client(MeteorClient):
    def __init__(self, url):
        super().__init__(url, auto_reconnect_timeout=0.2)
        # `subscribe` keeps of an error only its reason.
        self.refusals = {}
        subscribe = self.ddp_client.subscribe

        def remembering(name, params, callback):
            def called(error, id):
                self.refusals[name] = error
                callback(error, id)

            return subscribe(name, params, called)

        self.ddp_client.subscribe = remembering
        # The library notes that it connects again after it has done so: a server that has answered by then is taken
        # for the first one, and neither the login nor the subscriptions are repeated.
        init_socket = self.ddp_client._init_socket

        def init_again():
            self.ddp_client._is_reconnecting = not self.ddp_client._retry_new_version
            init_socket()

        self.ddp_client._init_socket = init_again

    def _reconnected(self):
        # Without a login the library forgets this, and then waits for it in the thread that would set it.
        self.connected = True
        self.collection_data.data = {}
        super()._reconnected()

    def _resubscribe(self):
        # The library empties its collections after the login, with which the user's document has come.
        data = self.collection_data.data
        super()._resubscribe()
        self.collection_data.data = data


class Bridge:
    def __init__(self, url):
        self.client = Client(url)

    def connect(self, answer):
        self.client.once("connected", lambda: answer(None, None))
        self.client.connect()

    def subscribe(self, answer, name, params):
        self.client.subscribe(name, params, lambda _: answer(self.client.refusals.pop(name), None))

    def unsubscribe(self, answer, name):
        self.client.unsubscribe(name)
        answer(None, None)

    def call(self, answer, name, params):
        self.client.call(name, params, answer)

    def login(self, answer, name, password):
        self.client.login(name, password.encode(), callback=answer)

    def logout(self, answer):
        self.client.logout(answer)

    def docs(self, answer, collection):
        while True:
            try:
                answer(None, [dict(document) for document in self.client.find(collection)])
                return
            except RuntimeError:
                pass  # The library's own thread has changed the dictionary meanwhile.

    def connected(self, answer):
        answer(None, self.client.connected is True)

    def close(self, answer, code):
        # From here on the socket's thread may find it closed while it reads, and complains of it.
        logging.getLogger("ws4py").setLevel(logging.CRITICAL)
        # The library's own `close` drops the connection without a word. When a server says no code,
        # its socket answers with 1005, which must never be sent.
        self.client.ddp_client.auto_reconnect = False
        if code is None:
            self.client.close()
        else:
            self.client.ddp_client.ddpsocket.close(code)
        answer(None, None)


def main(url):
    bridge = Bridge(url)
    for line in sys.stdin:
        request = json.loads(line)

        def answer(error, result, id=request["id"]):
            write({"id": id, "error": error} if error else {"id": id, "result": result})

        getattr(bridge, request["do"])(answer, *request["params"])
    bridge.client.close()


main(sys.argv[1])
