#!/usr/bin/env python3
"""attach.py mqtt|websocket HOST:PORT...: one client that stays, and goes to the next server when it is cut off.

Prints `on HOST:PORT` whenever a server has taken it. Ends with its stdin."""

import base64
import os
import select
import socket
import sys
import time


def mqtt(connection):
    """CONNECT as `app` and what the server says to it (MQTT 3.1.1, 3.1 and 3.2)."""
    text = lambda words: len(words).to_bytes(2, "big") + words
    body = text(b"MQTT") + bytes([4, 0xC2]) + (60).to_bytes(2, "big") + text(b"rollgate-%d" % os.getpid()) + text(b"app") + text(b"app")
    connection.sendall(bytes([0x10, len(body)]) + body)
    answer = connection.recv(4)
    return len(answer) == 4 and answer[0] == 0x20 and answer[3] == 0


def websocket(connection):
    """The upgrade, and then CONNECT and PING in one masked frame each (RFC 6455, 5.2)."""
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET / HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    if b" 101 " not in connection.recv(4096):
        return False
    for line in [b'CONNECT {"verbose":false,"protocol":1,"user":"app","pass":"app"}\r\n', b"PING\r\n"]:
        connection.sendall(bytes([0x82, 0x80 | len(line)]) + b"\0\0\0\0" + line)
    said = b""
    while b"PONG" not in said:
        more = connection.recv(4096)
        if not more:
            return False
        said += more
    return True


def main():
    greet = {"mqtt": mqtt, "websocket": websocket}[sys.argv[1]]
    servers = sys.argv[2:]
    at = 0
    attached = False
    while True:
        # The first connection is to the first server, however long it needs: MQTT makes its streams then.
        host, port = servers[at % len(servers)].split(":")
        at += attached
        try:
            with socket.create_connection((host, int(port)), timeout=2 if attached else 15) as connection:
                if greet(connection):
                    at += not attached
                    attached = True
                    print(f"on {host}:{port}", flush=True)
                    connection.settimeout(None)
                    while True:
                        readable, _, _ = select.select([connection, sys.stdin], [], [])
                        if sys.stdin in readable:
                            return
                        if not connection.recv(4096):
                            break
        except OSError:
            pass
        time.sleep(0.05)


main()
