"""The garbage collector runs code of the program wherever an object is made, in Python 3.11 even in the middle of a C
call. What that code changes or logs meanwhile crashes nothing, and is counted right."""

from tests.helpers.python_programs import run_program

# `collecting(n)`: the n-th object that is made from now on starts the collector, which calls `Ends.work`.
COLLECTING = """
class Ends:
    def __init__(self): self.me = self
    def __del__(self): Ends.work()
def collecting(number):
    gc.disable()
    gc.collect()
    Ends()
    gc.set_threshold(gc.get_count()[0] + number)
    gc.enable()
MADE_MAX = 40  # more objects than one call makes
"""


def test_what_the_collector_changes_while_an_entry_is_encoded(start):
    """In threads of their own: what is made once in each thread is made while a value is encoded."""
    server = start()
    program = f"""
        import datetime, decimal, uuid
        {COLLECTING.replace(chr(10), chr(10) + " " * 8)}
        zone = datetime.timezone(datetime.timedelta(hours=1))
        values = [
            None, True, 1, 1.5, "text", (1, [2]), {{"a": 1}}, uuid.uuid4(), decimal.Decimal("1.5"), datetime.date.today(),
            datetime.datetime.now(), datetime.datetime.now(zone), 2 ** 70, b"bytes", {{1}}, object(), "half \\ud800",
        ]
        client = Client("127.0.0.1", port)
        client.send("INFO", "first")
        def work():
            for container in inner, outer, entry: container.clear()
        Ends.work = work
        def log(number):
            collecting(number)
            client.send_entry(entry)
            gc.set_threshold(100_000)
        for value in values:
            for number in range(1, MADE_MAX):
                inner = [value, *map(str, range(50))]
                outer = {{"inner": inner, **{{str(i): [i] for i in range(50)}}}}
                entry = {{"level": "INFO", "message": "m", "outer": outer, "last": [1]}}
                thread = threading.Thread(target=log, args=(number,))
                thread.start()
                thread.join()
        assert client.flush(20), client.stats()
        assert client.stats().calls == 1 + len(values) * (MADE_MAX - 1), client.stats()
        """
    run_program(program, server.port)


def test_an_entry_of_the_collector_is_counted_once_while_the_entries_are_counted_anew():
    program = f"""
        from fastlog.client.core import Outbox
        from fastlog.client.options import checked_options
        {COLLECTING.replace(chr(10), chr(10) + " " * 8)}
        class Owner:
            def attend(self): pass
        for number in range(1, MADE_MAX):
            outbox, held = Outbox(checked_options(host="127.0.0.1", port=port), Owner()), []
            for i in range(3): outbox.put({{"level": "INFO", "message": str(i)}})
            outbox.fetch(held)
            outbox.put({{"level": "INFO", "message": "not fetched"}})
            Ends.work = lambda: outbox.put({{"level": "INFO", "message": "of the collector"}})
            collecting(number)
            outbox.recount(held)
            gc.set_threshold(100_000)
            outbox.fetch(held)
            assert outbox.entries == (len(held), 0), (number, outbox.entries, len(held))
        """
    run_program(program, 9)
