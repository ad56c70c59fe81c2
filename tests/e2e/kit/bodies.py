"""Bodies of action calls, and a way to keep the gateway from sending them for a while."""
from kit.waiting import wait_for


def unexempt(*ids):
    return {"types": "unexempt", "ids": list(ids)}


def exempt(hours, *ids):
    return {"types": "exempt", "ids": list(ids), "params": {"exempt_time": hours}}


def move(group, *ids):
    return {"types": "assign_to_group", "ids": list(ids), "params": {"group_id": group}}


def macs(*spellings):
    return {"types": "unexempt", "macs": list(spellings)}


def use_slots(gateway, simulator, count, client="script"):
    """Uses so many slots with calls that nothing else can join, and forgets them: for a window
    from now on what is submitted waits."""
    ids = [gateway.submit(move(f"used-{number}", f"any-used-{number}"), client=client)["id"]
           for number in range(count)]
    wait_for("the slots to be used", lambda: len(simulator.calls()) == count)
    for id in ids:
        wait_for("the answers", lambda id=id: gateway.action(id, client)["state"] == "completed")
    simulator.forget_calls()
