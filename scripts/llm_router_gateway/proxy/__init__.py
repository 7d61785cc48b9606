"""One request's life: from the request line to the record of the call."""
