"""Calls in bare HTTP/2: client libraries end a call by their own clock and hide what the server says."""

import base64
import socket

import h2.connection
import h2.events


def details(answer):
    """The details of a status, as text."""
    return str(base64.b64decode(answer["grpc-status-details-bin"] + "=="))


def call_by_hand(address, path, message, timeout):
    """A unary call in bare HTTP/2; returns all headers and trailers of the answer."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    fields = {":method": "POST", ":scheme": "http", ":authority": address, ":path": path}
    fields |= {"content-type": "application/grpc", "te": "trailers", "grpc-timeout": timeout}
    connection.send_headers(1, list(fields.items()))
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    connection.send_data(1, frame, end_stream=True)
    found = {}
    with socket.create_connection(address.split(":"), timeout=5) as wire:
        while True:
            wire.sendall(connection.data_to_send())
            received = wire.recv(65536)
            assert received, "closed without an answer"
            for event in connection.receive_data(received):
                found |= {_text(k): _text(v) for k, v in getattr(event, "headers", None) or []}
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return found


def _text(value):
    return value.decode() if isinstance(value, bytes) else value
