"""What tests of workflows and activities are written with.

`Environment` is an engine in memory whose time is virtual: a workflow that sleeps for a month takes no time. Activities
are replaced by giving the worker another instance of the generated `Activities` class, which the type checker holds to
the contract like the real one. `ActivityEnvironment` runs one activity alone.

::

    async def test_a_reminder_comes_after_a_month() -> None:
        mail = FakeMail()
        async with testing.Environment() as env, env.worker(workflows=[Remind], activities=[mail]):
            handle = await reminders.Client(env).start_remind(RemindRequest(text="water the plants"))
            await env.sleep(timedelta(days=29))
            assert mail.sent == []
            await handle.result()  # time jumps while everything waits
            assert mail.sent == ["water the plants"]
"""

from protopact.testing._activity import ActivityEnvironment
from protopact.testing._environment import Environment

__all__ = ["ActivityEnvironment", "Environment"]
