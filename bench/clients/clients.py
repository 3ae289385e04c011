"""What people's own clients see: the Python openai and anthropic clients against
our servers.

usage: clients.py REFERENCE_URL STUDENT_URL LIMITED_URL FAILING_URL [RESULTS.md]

The URLs end in /v1. LIMITED_URL refuses every request for its rate, FAILING_URL
fails every request.
"""

import json
import os
import platform
import sys

import anthropic
import openai
import pydantic

PROMPT = "Compute 47 * 82."
PRODUCT = "3854"
KEY = os.environ["CLIENT_KEY"]


def check(name, ok, detail=""):
    print(f"{'ok  ' if ok else 'FAIL'} {name} {detail}")
    results.append(bool(ok))


def failing(call):
    """The exception that call raises, or None."""
    try:
        call()
    except (openai.OpenAIError, anthropic.AnthropicError) as e:
        return e
    return None


class Product(pydantic.BaseModel):
    product: int


SCHEMA = {"type": "object", "properties": {"product": {"type": "integer"}}, "required": ["product"], "additionalProperties": False}


def judge_chat(server, url, model):
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60)
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


def judge_chat_tools(server, url, model):
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60)
    tools = [{"type": "function", "function": {"name": "tell", "parameters": SCHEMA}}]
    ask = dict(model=model, messages=[{"role": "user", "content": PROMPT}], temperature=0, tools=tools, tool_choice="required")
    whole = client.chat.completions.create(**ask).choices[0]
    call = whole.message.tool_calls[0]
    check(f"{server}: a tool call", whole.finish_reason == "tool_calls" and json.loads(call.function.arguments) == {"product": int(PRODUCT)}, call)
    with client.chat.completions.stream(**ask) as stream:
        final = stream.get_final_completion().choices[0]
    got = final.message.tool_calls[0].function
    check(f"{server}: a tool call, streamed", got.name == "tell" and got.arguments == call.function.arguments, got)
    parsed = client.chat.completions.parse(model=model, messages=ask["messages"], temperature=0, response_format=Product)
    check(f"{server}: a structured answer", parsed.choices[0].message.parsed == Product(product=int(PRODUCT)))


def judge_responses(server, url, model):
    client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60)
    ask = dict(model=model, input=PROMPT, instructions="Be brief.", temperature=0, max_output_tokens=300)
    whole = client.responses.create(**ask)
    kinds = [item.type for item in whole.output]
    check(f"{server}: a response", whole.output_text == PRODUCT and whole.status == "completed" and kinds == ["reasoning", "message"], kinds)
    thought = "".join(part.text for part in whole.output[0].content)
    u = whole.usage
    check(f"{server}: its usage", u.total_tokens == u.input_tokens + u.output_tokens and u.output_tokens_details.reasoning_tokens > 0
          and u.input_tokens_details.cached_tokens == 0, u)

    events = list(client.responses.create(stream=True, **ask))
    types = [e.type for e in events]
    check(f"{server}: its events are in order", types[:2] == ["response.created", "response.in_progress"] and types[-1] == "response.completed"
          and [e.sequence_number for e in events] == list(range(len(events))), f"{len(events)} events")
    opened = [e.item.id for e in events if e.type == "response.output_item.added"]
    closed = [e.item.id for e in events if e.type == "response.output_item.done"]
    check(f"{server}: each item begins and ends", opened == closed and len(opened) == 2)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    reasoning = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
    check(f"{server}: streamed, the same answer", text == PRODUCT and reasoning == thought, repr(text))
    with client.responses.stream(**ask) as stream:
        final = stream.get_final_response()
    check(f"{server}: the client's own assembly", final.output_text == PRODUCT and final.usage.output_tokens == u.output_tokens)

    tools = [{"type": "function", "name": "tell", "parameters": SCHEMA, "strict": True}]
    forced = dict(model=model, input=[{"role": "user", "content": PROMPT}], temperature=0, tools=tools, tool_choice={"type": "function", "name": "tell"})
    called = client.responses.create(**forced).output[-1]
    check(f"{server}: a function call", called.type == "function_call" and json.loads(called.arguments) == {"product": int(PRODUCT)}, called)
    with client.responses.stream(**forced) as stream:
        done = [e for e in stream if e.type == "response.function_call_arguments.done"]
        streamed = stream.get_final_response().output[-1]
    check(f"{server}: a function call, streamed", streamed.arguments == called.arguments and len(done) == 1)
    history = forced["input"] + [called.model_dump(exclude_none=True), {"type": "function_call_output", "call_id": called.call_id, "output": "noted"}]
    after = client.responses.create(model=model, input=history, temperature=0, tools=tools)
    check(f"{server}: after the function's output", after.output_text == PRODUCT)
    parsed = client.responses.parse(model=model, input=PROMPT, temperature=0, text_format=Product)
    check(f"{server}: a structured answer", parsed.output_parsed == Product(product=int(PRODUCT)), parsed.output_parsed)

    cut = client.responses.create(model=model, input=PROMPT, max_output_tokens=3)
    check(f"{server}: max_output_tokens cuts", cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens" and cut.usage.output_tokens == 3)
    with client.responses.stream(model=model, input=PROMPT, max_output_tokens=3) as stream:
        last = [e.type for e in stream][-1]
    check(f"{server}: and streamed", last == "response.incomplete", last)

    e = failing(lambda: client.responses.create(model="nobody", input=PROMPT))
    check(f"{server}: no such model", isinstance(e, openai.NotFoundError) and e.code == "model_not_found", e)
    e = failing(lambda: client.responses.create(model=model, input=[]))
    check(f"{server}: no input", isinstance(e, openai.BadRequestError), e)
    e = failing(lambda: client.responses.create(model=model, input=PROMPT, temperature=9))
    check(f"{server}: impossible temperature", isinstance(e, openai.BadRequestError), e)
    stranger = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    e = failing(lambda: stranger.responses.create(model=model, input=PROMPT))
    check(f"{server}: wrong key", isinstance(e, openai.AuthenticationError), e)


def judge_messages(server, url, model):
    root = url.removesuffix("/v1")
    newest = anthropic.Anthropic(base_url=root, api_key=KEY, max_retries=0, timeout=60)
    e = failing(lambda: newest.messages.create(model=model, max_tokens=9, messages=[{"role": "user", "content": PROMPT}], extra_body={"temperature": 1}))
    check(f"{server}: the newest version has no temperature", isinstance(e, anthropic.BadRequestError) and "not permitted" in str(e), e)
    plain = newest.messages.create(model=model, max_tokens=400, messages=[{"role": "user", "content": PROMPT}])
    check(f"{server}: and answers without", plain.content[-1].text == PRODUCT, plain.content[-1])

    # At temperature 0, which the version before has, the same answer comes twice.
    client = newest.with_options(default_headers={"anthropic-version": "2023-06-01"})
    models = client.models.list()
    check(f"{server}: models", [m.id for m in models] == [model] and models.data[0].created_at.year > 2000, models)
    check(f"{server}: one model", client.models.retrieve(model).id == model)

    ask = dict(model=model, max_tokens=400, extra_body={"temperature": 0}, system="Be brief.", messages=[{"role": "user", "content": PROMPT}])
    whole = client.messages.create(**ask)
    kinds = [block.type for block in whole.content]
    check(f"{server}: a message", kinds == ["thinking", "text"] and whole.content[1].text == PRODUCT and whole.role == "assistant", kinds)
    check(f"{server}: stop reason and request id", whole.stop_reason == "end_turn" and whole._request_id, whole._request_id)
    u = whole.usage
    check(f"{server}: its usage", u.input_tokens > 0 and u.output_tokens > 0 and u.cache_read_input_tokens == 0 and u.cache_creation_input_tokens == 0, u)

    events = list(client.messages.create(stream=True, **ask))
    types = [e.type for e in events]
    check(f"{server}: its events are in order", types[0] == "message_start" and types[-2:] == ["message_delta", "message_stop"]
          and types.count("content_block_start") == types.count("content_block_stop") == 2, f"{len(events)} events")
    with client.messages.stream(**ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check(f"{server}: streamed, the same answer", text == PRODUCT and final.content[1].text == PRODUCT, repr(text))
    check(f"{server}: streamed, the same thinking and signature",
          final.content[0].thinking == whole.content[0].thinking and final.content[0].signature == whole.content[0].signature)
    check(f"{server}: streamed, stop reason and usage", final.stop_reason == "end_turn" and final.usage.output_tokens == u.output_tokens
          and final.usage.input_tokens == u.input_tokens, final.usage)

    tools = [{"name": "tell", "description": "tells a product", "input_schema": SCHEMA}]
    forced = client.messages.create(tools=tools, tool_choice={"type": "tool", "name": "tell"}, **ask)
    call = forced.content[-1]
    check(f"{server}: a tool call", forced.stop_reason == "tool_use" and call.name == "tell" and call.input == {"product": int(PRODUCT)}, call)
    with client.messages.stream(tools=tools, tool_choice={"type": "any"}, **ask) as stream:
        snapshots = [e.snapshot for e in stream if e.type == "input_json"]
        streamed = stream.get_final_message()
    check(f"{server}: a tool call, streamed", streamed.content[-1].input == call.input and streamed.stop_reason == "tool_use" and len(snapshots) > 0)
    turns = ask["messages"] + [
        {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in forced.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "noted"}, {"type": "text", "text": PROMPT}]}]
    after = client.messages.create(**{**ask, "messages": turns, "tools": tools})
    check(f"{server}: after the tool's result", after.content[-1].text == PRODUCT)
    parsed = client.messages.parse(output_format=Product, **ask)
    check(f"{server}: a structured answer", parsed.parsed_output == Product(product=int(PRODUCT)), parsed.parsed_output)

    silent = client.messages.create(thinking={"type": "disabled"}, **ask)
    check(f"{server}: thinking disabled", [b.type for b in silent.content] == ["text"] and silent.usage.output_tokens < u.output_tokens)
    cut = client.messages.create(**{**ask, "max_tokens": 3})
    check(f"{server}: max_tokens cuts", cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 3, cut.usage)
    stopped = client.messages.create(stop_sequences=["5"], **ask)
    check(f"{server}: a stop sequence", stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "5" and stopped.content[-1].text == "38", stopped.content[-1])
    cached = {**ask, "system": [{"type": "text", "text": "Be brief, and a little longer.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}
    first, second = client.messages.create(**cached), client.messages.create(**cached)
    check(f"{server}: a prompt is cached", first.usage.cache_creation.ephemeral_1h_input_tokens > 0 and first.usage.cache_read_input_tokens == 0
          and second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens and second.usage.cache_creation_input_tokens == 0, second.usage)

    for name, error, call in [
        ("no such model", anthropic.NotFoundError, lambda: client.messages.create(**{**ask, "model": "nobody"})),
        ("impossible temperature", anthropic.BadRequestError, lambda: client.messages.create(**{**ask, "extra_body": {"temperature": 1.5}})),
        ("no messages", anthropic.BadRequestError, lambda: client.messages.create(**{**ask, "messages": []})),
        ("too large a budget of thinking", anthropic.BadRequestError, lambda: client.messages.create(thinking={"type": "enabled", "budget_tokens": 2000}, **ask)),
        ("a picture", anthropic.BadRequestError, lambda: client.messages.create(**{**ask, "messages": [
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/a.png"}}]}]})),
        ("too large a request", anthropic.RequestTooLargeError, lambda: client.messages.create(**{**ask, "system": "x" * 5_000_000})),
        ("wrong key", anthropic.AuthenticationError, lambda: anthropic.Anthropic(base_url=root, api_key="wrong", max_retries=0).messages.create(**ask)),
    ]:
        e = failing(call)
        check(f"{server}: {name}", isinstance(e, error) and e.request_id and e.type and e.body["request_id"] == e.request_id, repr(e)[:160])


def judge_refusals(limited, failing_url, model):
    """How refusals for the rate, and failures, look to each client."""
    messages = [{"role": "user", "content": PROMPT}]

    def ask(url, wire):
        if wire == "messages":
            return lambda: anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key=KEY, max_retries=0).messages.create(model=model, max_tokens=9, messages=messages)
        client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
        if wire == "responses":
            return lambda: client.responses.create(model=model, input=PROMPT)
        return lambda: client.chat.completions.create(model=model, messages=messages)

    for wire, kind in [("chat", openai), ("responses", openai), ("messages", anthropic)]:
        e = failing(ask(limited, wire))
        check(f"{wire}: refused for its rate", isinstance(e, kind.RateLimitError) and float(e.response.headers["retry-after"]) > 0, repr(e)[:120])
        seen = {type(failing(ask(failing_url, wire))).__name__ for _ in range(24)}
        want = {"InternalServerError", "OverloadedError"} if wire == "messages" else {"InternalServerError"}
        check(f"{wire}: the server fails", seen == want, seen)


results = []
reference, student, limited, broken = sys.argv[1:5]
print(f"openai {openai.__version__}, anthropic {anthropic.__version__}, Python {platform.python_version()}")
judge_chat("reference", reference, "reference")
judge_chat("student", student, "student")
judge_chat_tools("reference", reference, "reference")
judge_responses("responses", reference, "reference")
judge_messages("messages", reference, "reference")
judge_refusals(limited, broken, "reference")
passed = sum(results)
if len(sys.argv) > 5:
    with open(sys.argv[5], "a") as f:
        f.write(f"\n## clients\n\nopenai {openai.__version__}, anthropic {anthropic.__version__}: {passed} of {len(results)} checks passed.\n")
print(f"{passed} passed, {len(results) - passed} failed")
print(json.dumps({"bench": "clients", "figures": {"passed": passed, "of": len(results)}, "spread": {}}))
sys.exit(passed != len(results))
