"""What people's own client sees: the Python openai client against both servers.

usage: clients.py REFERENCE_URL STUDENT_URL [RESULTS.md]
"""

import json
import os
import platform
import sys

import openai

PROMPT = "Compute 47 * 82."


def check(name, ok, detail=""):
    print(f"{'ok  ' if ok else 'FAIL'} {name} {detail}")
    results.append(bool(ok))


def failing(call):
    """The exception that call raises, or None."""
    try:
        call()
    except openai.OpenAIError as e:
        return e
    return None


def judge(server, url, model):
    key = os.environ["CLIENT_KEY"]
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)
    messages = [{"role": "user", "content": PROMPT}]

    names = [m.id for m in client.models.list()]
    check(f"{server}: models", names == [model], names)

    whole = client.chat.completions.create(model=model, messages=messages, seed=7, temperature=0, max_tokens=200)
    choice = whole.choices[0]
    check(f"{server}: an answer", choice.message.content is not None and choice.finish_reason in ("stop", "length"), repr(choice.message.content))
    u = whole.usage
    check(f"{server}: usage adds up", u.prompt_tokens > 0 and u.total_tokens == u.prompt_tokens + u.completion_tokens, u)

    content, reasoning, finish, usage = "", "", None, None
    stream = client.chat.completions.create(
        model=model, messages=messages, seed=7, temperature=0, max_tokens=200, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for c in chunk.choices:
            content += c.delta.content or ""
            reasoning += getattr(c.delta, "reasoning_content", None) or ""
            finish = c.finish_reason or finish
    check(f"{server}: streamed, the same answer", content == (choice.message.content or ""), repr(content))
    check(f"{server}: streamed, the same reasoning", reasoning == (getattr(choice.message, "reasoning_content", None) or ""))
    check(f"{server}: streamed, finish and usage", finish == choice.finish_reason and usage and usage.completion_tokens == u.completion_tokens, usage)

    cut = client.chat.completions.create(model=model, messages=messages, max_tokens=3)
    check(f"{server}: max_tokens cuts", cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 3, cut.usage)
    two = client.chat.completions.create(model=model, messages=messages, n=2, temperature=1, max_tokens=40)
    check(f"{server}: n", [c.index for c in two.choices] == [0, 1])

    e = failing(lambda: client.chat.completions.create(model="nobody", messages=messages))
    check(f"{server}: no such model", isinstance(e, openai.NotFoundError), e)
    e = failing(lambda: client.chat.completions.create(model=model, messages=messages, temperature=9))
    check(f"{server}: impossible temperature", isinstance(e, openai.BadRequestError), e)
    e = failing(lambda: client.chat.completions.create(model=model, messages=[]))
    check(f"{server}: no messages", isinstance(e, openai.BadRequestError), e)
    stranger = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    e = failing(lambda: stranger.chat.completions.create(model=model, messages=messages))
    check(f"{server}: wrong key", isinstance(e, openai.AuthenticationError), e)


results = []
print(f"openai {openai.__version__}, Python {platform.python_version()}")
judge("reference", sys.argv[1], "reference")
judge("student", sys.argv[2], "student")
passed = sum(results)
if len(sys.argv) > 3:
    with open(sys.argv[3], "a") as f:
        f.write(f"\n## clients\n\nopenai {openai.__version__}: {passed} of {len(results)} checks passed.\n")
print(f"{passed} passed, {len(results) - passed} failed")
print(json.dumps({"bench": "clients", "figures": {"passed": passed, "of": len(results)}, "spread": {}}))
sys.exit(passed != len(results))
