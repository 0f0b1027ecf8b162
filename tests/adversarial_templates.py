"""Chat templates written to be hard to trace: each does something to the data that a tracer may lose sight of.

They print few control tokens (ChatML's, `[INST]`, `</s>`, Llama's) and are otherwise as odd as Jinja allows. Most of
them are still good templates: they append, and close their answers. The comment above each says what it triggers.
"""

from __future__ import annotations

ADVERSARIAL: dict[str, str] = {}

# Macros: recursive, with defaults, with `caller`, with varargs and kwargs; text reaches the output through their return.
ADVERSARIAL["macros"] = """\
{%- macro wrap(role, tail='<|im_end|>\\n') -%}
<|im_start|>{{ role }}{{ '\\n' }}{{ caller() }}{{ tail }}
{%- endmacro -%}
{%- macro plain(value, depth=0) -%}
  {%- if value is mapping -%}
    {%- for key in value -%}{{ key }}={{ plain(value[key], depth + 1) }};{%- endfor -%}
  {%- elif value is string or value is not iterable -%}{{ value }}
  {%- else -%}
    {%- for item in value -%}{{ '-' * depth }}{{ plain(item.text if item is mapping and item.type == 'text' else item, depth=depth + 1) }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro all_of() -%}{{ varargs | join(kwargs.get('sep', '')) }}{%- endmacro -%}
{%- for tool in tools or [] -%}
  {%- call wrap('tools') -%}{{ plain(tool) }}{%- endcall -%}
{%- endfor -%}
{%- for message in messages -%}
  {%- call wrap(message.role) -%}
    {%- if message.reasoning_content %}{{ all_of('<think>', message.reasoning_content, '</think>', sep='\\n') }}{% endif -%}
    {{- plain(message.content or '') -}}
    {%- for made in message.tool_calls or [] -%}{{ all_of('CALL ', made.function.name, ' ', plain(made.function.arguments)) }}{%- endfor -%}
  {%- endcall -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Namespaces: the whole output gathers in an attribute and is printed once, at the end.
ADVERSARIAL["namespaces"] = """\
{%- set ns = namespace(out='', turns=0, last_role='', seen=[]) -%}
{%- if tools %}{% set ns.out = ns.out ~ 'Tools: ' ~ (tools | tojson) ~ '\\n' %}{% endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' and ns.last_role != 'user' %}{% set ns.turns = ns.turns + 1 %}{% endif -%}
  {%- set ns.last_role = message.role -%}
  {%- set ns.out = ns.out + '<|im_start|>' + message.role + ' ' + ns.turns | string + '\\n' -%}
  {%- if message.reasoning_content %}{% set ns.out = ns.out + '<think>' + message.reasoning_content + '</think>' %}{% endif -%}
  {%- set ns.out = ns.out + (message.content or '') -%}
  {%- for made in message.tool_calls or [] -%}
    {%- set ns.seen = ns.seen + [made.function.name] -%}
    {%- set ns.out = ns.out ~ '[' ~ ns.seen | length ~ ':' ~ ns.seen[-1] ~ made.function.arguments | tojson ~ ']' -%}
  {%- endfor -%}
  {%- set ns.out = ns.out + '<|im_end|>\\n' -%}
{%- endfor -%}
{%- if add_generation_prompt %}{% set ns.out = ns.out + '<|im_start|>assistant ' + ns.turns | string + '\\n' %}{% endif -%}
{{- ns.out -}}
"""

# Look-ahead and look-back: nextitem, previtem, messages[loop.index0 + 1], loop.last, loop.changed, loop.revindex.
ADVERSARIAL["look ahead"] = """\
{%- for message in messages -%}
  {%- if loop.changed(message.role) %}<|im_start|>{{ message.role }}{{ '\\n' }}{% else %}{{ '\\n' }}---{{ '\\n' }}{% endif -%}
  {%- if message.role == 'tool' and loop.previtem is defined and loop.previtem.tool_calls -%}
    {{- loop.previtem.tool_calls[0].function.name }}: {% endif -%}
  {{- message.content or '' -}}
  {%- for made in message.tool_calls or [] -%}
    {{- made.function | tojson }}{% if loop.nextitem is defined %}, {{ loop.nextitem.function.name }} follows{{ '\\n' }}{% endif -%}
  {%- endfor -%}
  {%- if message.reasoning_content %}({{ message.reasoning_content }}){% endif -%}
  {%- if message.role == 'assistant' -%}<|im_end|>
  {%- elif not loop.last and messages[loop.index0 + 1].role == message.role -%}
  {%- elif loop.nextitem is defined or loop.revindex == 1 -%}<|im_end|>{{ '\\n' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Slices of strings: front and rest, last character, the inside, a stride, and twice turned round.
ADVERSARIAL["slices of strings"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message['role'][:1] }}{{ message['role'][1:] }}{{ '\\n' }}
  {%- if text[:1] == '"' and text[-1:] == '"' and text | length > 1 %}"{{ text[1:-1] }}"
  {%- elif message.role == 'user' %}{{ text[:5] }}{{ text[5:] }}
  {%- elif message.role == 'system' %}{{ text[::-1][::-1] }}
  {%- elif message.role == 'tool' %}{{ text[:-3] + text[-3:] if text | length > 3 else text }}
  {%- else %}{{ text[0:1] }}{{ text[1:text | length] }}{% endif -%}
  {%- if text and text[-1] == '?' %} (asked){% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name[:2] ~ made.function.name[2:] }}{{ (made.function.arguments | tojson)[1:-1] }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Slices of the list of messages: head, tail, strides, the last one; a loop over `range`.
ADVERSARIAL["slices of messages"] = """\
{%- set head = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- set rest = messages[1:] if messages and messages[0].role == 'system' else messages[:] -%}
{%- if head %}<|im_start|>system{{ '\\n' }}{{ head }}<|im_end|>{{ '\\n' }}{% endif -%}
{%- for i in range(rest | length) -%}
  <|im_start|>{{ rest[i].role }}{{ '\\n' }}{{ rest[i:i + 1][0].content or '' }}
  {%- for made in rest[i]['tool_calls'] or [] %}{{ made.function.name }}({{ made['function']['arguments'] | tojson }}){% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if rest[-1:] and rest[::-1][0].role == 'user' and add_generation_prompt -%}
  <|im_start|>assistant{{ '\\n' }}
{%- elif add_generation_prompt -%}
  <|im_start|>assistant{{ '\\n' }}
{%- endif -%}
"""

# Filters with arguments: join, replace, indent, default, map, selectattr, rejectattr, batch, groupby, dictsort, sort, unique.
ADVERSARIAL["filters"] = """\
{%- set said = messages | map(attribute='content') | select('string') | list -%}
{%- if tools %}tools: {{ tools | map(attribute='function') | map(attribute='name') | sort | unique | join(', ') }}
  {%- for tool in tools %}{{ '\\n' }}{{ tool.function.description | default('none', true) | indent(2, first=true) }}{{ tool.function.parameters.properties | default({}) | dictsort | tojson }}{% endfor %}{{ '\\n' }}{% endif -%}
{%- for row in messages | batch(2) -%}
  {%- for message in row -%}
    <|im_start|>{{ message.role | replace('assistant', 'model') }}{{ '\\n' }}
    {{- [message.content | default('', true)] | join('') | replace('\\r\\n', '\\n') | replace('\\t', '    ', 1) -}}
    {%- if message.reasoning_content is defined %}{{ [' <', message.reasoning_content | trim, '> '] | join }}{% endif -%}
    {%- for name, group in (message.tool_calls or []) | groupby('function.name') -%}
      {{- name }}: {{ group | map(attribute='function.arguments') | map('tojson') | join('; ') }}{{ '\\n' }}
    {%- endfor -%}
    <|im_end|>{{ '\\n' }}
  {%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt and messages | selectattr('role', 'equalto', 'user') | list | length > 0 %}<|im_start|>model{{ '\\n' }}
{%- elif add_generation_prompt and said | first | default('x') %}<|im_start|>model{{ '\\n' }}{% endif -%}
"""

# String formatting: % with one argument, with a tuple and with names, .format with positions, names and keys, |format, ~.
ADVERSARIAL["formatting"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  {%- if message.role == 'user' %}{{ '<|im_start|>user\\n%s<|im_end|>\\n' % text }}
  {%- elif message.role == 'system' %}{{ '<|im_start|>%s\\n%s<|im_end|>\\n' % (message.role, text) }}
  {%- elif message.role == 'tool' %}{{ '<|im_start|>{0}\\n{text}<|im_end|>\\n'.format(message['role'], text=text) }}
  {%- else -%}
    {{- '<|im_start|>{m[role]}\\n{m[content]}'.format(m={'role': message.role, 'content': text}) -}}
    {%- for made in message.tool_calls or [] %}{{ '%(name)s(%(args)s)' | format(name=made.function.name, args=made.function.arguments | tojson) }}{% endfor -%}
    {%- if message.reasoning_content %}{{ '{:<9}|%r' .format(message.reasoning_content) % message.reasoning_content if '%' not in message.reasoning_content else message.reasoning_content }}{% endif -%}
    {{- '<|' ~ 'im_end' ~ '|>' ~ '\\n' -}}
  {%- endif -%}
{%- endfor -%}
{{- '%s%s' % ('<|im_start|>', 'assistant\\n') if add_generation_prompt -}}
"""

# A loop over the characters of the data, which prints each one and replaces a few.
ADVERSARIAL["characters"] = """\
{%- for message in messages -%}
  <|im_start|>{% for letter in message.role %}{{ letter }}{% endfor %}{{ '\\n' }}
  {%- for letter in message.content or '' -%}
    {%- if letter == '{' %}{{ '{{' }}{% elif letter in '\\r\\x0b' %}{{ '\\n' }}{% else %}{{ {'<': '<', '~': '-'}.get(letter, letter) }}{% endif -%}
  {%- endfor -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name | list | join }}{{ made.function.arguments | tojson | list | join('') }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# `in` both ways: data in a constant, a constant in data, data in a list, a tuple and a dict, keys in messages.
ADVERSARIAL["membership"] = """\
{%- for message in messages -%}
  {%- set text = message.content if 'content' in message else '' -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}{{ text -}}
  {%- if text in 'abcdefgh x y' %} short{% endif -%}
  {%- if text in ['a', 'b', 'Bye', 'yes'] or text in {'one': 1, 'two': 2} or text in ('ok', '') %} common{% endif -%}
  {%- if 'the' in text and 'x' not in text %} the{% endif -%}
  {%- if message.role in ('tool', 'user') and '<' in text %} markup{% endif -%}
  {%- if loop.previtem is defined and text in (loop.previtem.content or '') %} echoed{% endif -%}
  {%- if 'tool_calls' in message -%}
    {%- for made in message.tool_calls %}{{ made.function.name }}{% if 'place' in made.function.arguments %}@{{ made.function.arguments['place'] }}{% endif %}{{ made.function.arguments | tojson }}{% endfor -%}
  {%- endif -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' if 'user' in messages | map(attribute='role') | list else '\\n' }}{% endif -%}
"""

# Splitting and stripping: split, rsplit, partition, rpartition, splitlines, strip with characters, removeprefix.
ADVERSARIAL["splits"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'system' %}{{ text.strip(' \\n.') }}.
  {%- elif message.role == 'user' -%}
    {%- set parts = text.partition(' ') %}{{ parts[0] }}{{ parts[1] }}{{ parts[2] -}}
  {%- elif message.role == 'tool' -%}
    {%- for line in text.splitlines() %}> {{ line }}{{ '\\n' }}{% endfor -%}
  {%- elif text.startswith('<think>') and '</think>' in text -%}
    {%- set thought = text.split('</think>')[0].removeprefix('<think>').strip('\\n') -%}
    <think>{{ '\\n' }}{{ thought }}{{ '\\n' }}</think>{{ '\\n' }}{{ '\\n' }}{{ text.split('</think>', 1)[-1].lstrip('\\n') -}}
  {%- else -%}
    {{- text.rsplit('\\n', 1) | join('\\n') }}{{ text.rpartition('zzz')[1] -}}
  {%- endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name.split('_') | join('_') }} {{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Methods that give new text: upper, title, capitalize, swapcase twice, lower (which makes a control string of <|IM_END|>).
ADVERSARIAL["cases"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role.upper() }} {{ message.role | title }} {{ message.role.capitalize() }}{{ '\\n' }}
  {%- if message.role == 'system' %}{{ text.upper() }}
  {%- elif message.role == 'tool' %}{{ text.lower() }}
  {%- elif message.role == 'user' %}{{ text | lower if text.isupper() else text.swapcase().swapcase() }}
  {%- else %}{{ text }}{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name | upper }}: {{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>ASSISTANT Assistant Assistant{{ '\\n' }}{% endif -%}
"""

# Data as the replacement: a constant frame in which words are replaced by role and content, one after the other.
ADVERSARIAL["data as replacement"] = """\
{%- set frame = '<|im_start|>ROLE\\nTEXT<|im_end|>\\n' -%}
{%- for message in messages -%}
  {%- set calls = namespace(text='') -%}
  {%- for made in message.tool_calls or [] %}{% set calls.text = calls.text + '@@(##)'.replace('@@', made.function.name).replace('##', made.function.arguments | tojson) %}{% endfor -%}
  {{- frame.replace('ROLE', message.role).replace('TEXT', (message.content or '') + calls.text) -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ frame.split('TEXT')[0] | replace('ROLE', 'assistant') }}{% endif -%}
"""

# Comparisons of data: <, >=, == between two messages, startswith with a tuple, endswith, sorting by data, min and max.
ADVERSARIAL["comparisons"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}{{ text -}}
  {%- if text < 'm' %} early{% endif -%}
  {%- if text >= 'the' %} late{% endif -%}
  {%- if text.startswith(('a', 'T', '<')) or text.endswith('.') %} known{% endif -%}
  {%- if loop.index0 > 0 and text == (messages[loop.index0 - 1].content or '') %} same{% endif -%}
  {%- if 'a' <= text[:1] < 'n' %} low{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name }}{{ made.function.arguments | tojson }}{{ ' first' if made.function.name == (message.tool_calls | map(attribute='function.name') | min) }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Numbers that come from data and are printed: lengths, word counts, counts of a letter, positions.
ADVERSARIAL["lengths"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }}{% if message.role != 'assistant' %} {{ text | length }}/{{ text.split() | length }}/{{ text.count('e') + text.find('o') }}{% endif %}{{ '\\n' }}
  {{- text }}{{ '.' * (3 - text | length % 3) -}}
  {%- if text | length > 10 %} long{% elif text | length % 2 %} odd{% endif -%}
  {%- if text | length // 7 == 1 %} seven{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ '\\n' }}{{ made.function.name }}/{{ made.function.arguments | length }}{{ made.function.arguments | tojson }}{% endfor -%}
  {%- if message.role == 'assistant' %} {{ text | wordcount }} words{% endif -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# tojson of everything with every argument: whole messages, arguments, lists of strings, a single text, the roles.
ADVERSARIAL["json"] = """\
{%- if tools %}{{ tools | tojson(indent=2, sort_keys=true) }}{{ '\\n' }}{% endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' %}<|im_start|>{{ message | tojson(sort_keys=true) }}
  {%- elif message.role == 'system' %}<|im_start|>system{{ '\\n' }}{{ message.content | tojson(ensure_ascii=true) }}
  {%- elif message.role == 'tool' %}<|im_start|>{{ [message.role, message.content] | tojson(separators=('; ', '=')) }}
  {%- else %}<|im_start|>assistant{{ '\\n' }}{{ {'said': message.content or ''} | tojson(indent='\\t') }}
    {%- if message.reasoning_content %}{{ (message.reasoning_content | tojson)[1:-1] }}{% endif -%}
    {%- if message.tool_calls %}{{ message.tool_calls | map(attribute='function') | list | tojson(indent=1, ensure_ascii=true, sort_keys=true) }}{% endif -%}
  {%- endif -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Python's own spelling: a list, a dict, a call printed or made a string without tojson.
ADVERSARIAL["python repr"] = """\
{%- if tools %}{{ tools }}{{ '\\n' }}{% endif -%}
{%- for message in messages -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'tool' %}{{ {'result': message.content} | string }}
  {%- elif message.role == 'user' %}{{ [message.content] }}
  {%- else %}{{ message.content or '' }}{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name }}{{ made.function.arguments | string }}{{ '%s' % [made.function.name] }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Blocks: set blocks with and without filters, filter blocks, generation, with, a named block, raw.
ADVERSARIAL["blocks"] = """\
{%- set close %}<|im_end|>{% endset -%}
{%- block body -%}
{%- for message in messages -%}
  {%- set text %}{{ message.content or '' }}{% endset -%}
  {%- set calls | replace('"', "'") %}{% for made in message.tool_calls or [] %}{{ made.function.name }}{{ made.function.arguments | tojson }}{% endfor %}{% endset -%}
  <|im_start|>{% filter lower %}{{ message.role }}{% endfilter %}{{ '\\n' }}
  {%- if message.role == 'assistant' -%}
    {%- generation %}{% if message.reasoning_content %}{% filter trim %} {{ message.reasoning_content }} {% endfilter %}{% endif %}{{ text }}{{ calls }}{{ close }}{% endgeneration -%}
  {%- else -%}
    {%- with inner = text %}{% raw %}{{ }}{% endraw %}{{ inner }}{{ close }}{% endwith -%}
  {%- endif %}{{ '\\n' }}
{%- endfor -%}
{%- endblock -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Literals that hold data: lists, tuples and dicts built, added, looped over, unpacked; a dict keyed by data (id -> name).
ADVERSARIAL["literals"] = """\
{%- set ns = namespace(names={}, turns=[]) -%}
{%- for message in messages -%}
  {%- for made in message.tool_calls or [] %}{% if made.id is defined %}{% set ns.names = dict(ns.names, **{made.id: made.function.name}) %}{% endif %}{% endfor -%}
{%- endfor -%}
{%- for message in messages -%}
  {%- set pair = (message.role, message.content or '') -%}
  {%- set turn = namespace(who=pair[0], what=[pair[1]], calls=[]) -%}
  {%- for made in message.tool_calls or [] %}{% set turn.calls = turn.calls + [{'f': made.function, 'n': [made.function.name]}] %}{% endfor -%}
  <|im_start|>{{ turn['who'] }}{% if message.tool_call_id is defined %} {{ ns.names.get(message.tool_call_id, message.name) }}{% endif %}{{ '\\n' }}
  {%- for part in turn.what + [''] %}{{ part }}{% endfor -%}
  {%- for made in turn.calls %}<|call|>{{ made.n[0] }}{{ dict(made.f.arguments.items()) | tojson if made.f.arguments is mapping else made.f.arguments }}{% endfor -%}
  {%- for key, value in {'thought': message.reasoning_content}.items() if value %}({{ key }}: {{ value }}){% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# joiner, cycler, loop.cycle, do-less counting, for-else, loop filters, break and continue.
ADVERSARIAL["joiner and cycler"] = """\
{%- set comma = joiner(', ') -%}
{%- set mark = cycler('-', '+') -%}
{%- for tool in tools or [] %}{{ comma() }}{{ tool.function.name }}{% else %}no tools{% endfor %}{{ '\\n' }}
{%- for message in messages if message.role != 'developer' -%}
  {%- if not message.content and not message.tool_calls and message.role == 'user' %}{% continue %}{% endif -%}
  <|im_start|>{{ mark.next() }}{{ loop.cycle('a', 'b', 'c') }} {{ message.role }}{{ '\\n' }}
  {%- set sep = joiner('\\n\\n') -%}
  {%- for text in [message.reasoning_content, message.content] if text %}{{ sep() }}{{ text }}{% endfor -%}
  {%- for made in message.tool_calls or [] %}{{ sep() }}{{ made.function.name }} {{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>{{ mark.next() }}{{ 'abc'[messages | length % 3] }} assistant{{ '\\n' }}{% endif -%}
"""

# Tests on data: string, mapping, iterable, sequence, number, boolean, none, upper, lower, in, sameas, eq, divisibleby, escaped.
ADVERSARIAL["tests"] = """\
{%- for message in messages -%}
  {%- set text = message.content -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}{{ text if text is string -}}
  {%- if text is string and text is sequence and text is iterable and text is not mapping %} text{% endif -%}
  {%- if text is none or text is undefined %} none{% endif -%}
  {%- if text is upper %} upper{% elif text is lower %} lower{% endif -%}
  {%- if text is in ['a', 'b'] %} in{% elif text is eq 'Bye' %} eq{% endif -%}
  {%- if text is string and text | length is divisibleby 2 %} even{% endif -%}
  {%- if text is escaped or text is callable %} odd{% endif -%}
  {%- if text is sameas messages[0].content %} first{% endif -%}
  {%- for made in message.tool_calls or [] -%}
    {{- made.function.name -}}
    {%- for value in (made.function.arguments.values() if made.function.arguments is mapping else [made.function.arguments]) -%}
      {{- ' s' if value is string else ' b' if value is boolean else ' n' if value is number else ' o' }}{{ value | tojson -}}
    {%- endfor -%}
  {%- endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# A recursive loop over the JSON of arguments and definitions that prints keys.
ADVERSARIAL["recursive loop"] = """\
{%- for tool in tools or [] -%}
  {%- for key, value in tool.function.items() recursive -%}
    {{- '  ' * loop.depth0 }}{{ key }}:{% if value is mapping %}{{ '\\n' }}{{ loop(value.items()) }}{% else %} {{ value }}{{ '\\n' }}{% endif -%}
  {%- endfor -%}
{%- endfor -%}
{%- for message in messages -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}{{ message.content or '' }}
  {%- for made in message.tool_calls or [] -%}
    <call name="{{ made.function.name }}">
    {%- for key, value in made.function.arguments | items recursive -%}
      <{{ key }}>{% if value is mapping %}{{ loop(value | items) }}{% else %}{{ value }}{% endif %}</{{ key }}>
    {%- endfor -%}
    </call>
  {%- endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Roles build control tokens, as in Phi; the name of a message and its other keys are printed.
ADVERSARIAL["roles build tokens"] = """\
{%- for message in messages -%}
  {{- '<|' + message['role'] + '|>' }}{{ ' name=' + message.name if message.name is defined else '' }}{{ '\\n' }}{{ message.content or '' }}
  {%- for key in message if key not in ('role', 'content', 'name', 'tool_calls', 'tool_call_id', 'reasoning_content', 'thinking') %} {{ key }}={{ message[key] }}{% endfor -%}
  {%- if message.tool_calls %}<|tool_calls|>{{ message.tool_calls | tojson }}{% endif -%}
  {{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|' ~ ['assist', 'ant'] | join ~ '|>' }}{{ '\\n' }}{% endif -%}
"""

# Rewrites history: thinking before the last user message disappears, and empty thinking is written into the last answer.
ADVERSARIAL["rewrites history"] = """\
{%- set ns = namespace(last=-1) -%}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  {%- set thought = message.reasoning_content or '' -%}
  {%- if not thought and message.role == 'assistant' and '</think>' in text -%}
    {%- set thought = text.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
    {%- set text = text.split('</think>')[-1].lstrip('\\n') -%}
  {%- endif -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'assistant' and loop.index0 > ns.last %}<think>{{ '\\n' }}{{ thought.strip() }}{{ '\\n' }}</think>{{ '\\n' }}{{ '\\n' }}{% endif -%}
  {{- text -}}
  {%- for made in message.tool_calls or [] %}{{ '\\n' }}<tool_call>{{ made.function | tojson }}</tool_call>{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Data printed twice: in the header, in the text, and again before the next answer.
ADVERSARIAL["duplicates"] = """\
{%- set ns = namespace(asked='') -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  {%- if message.role == 'user' %}{% set ns.asked = text %}{% endif -%}
  <|im_start|>{{ message.role }}{% if message.role == 'assistant' %} to {{ ns.asked }}{% endif %}{{ '\\n' }}
  {{- text ~ ('|' ~ text if message.role == 'tool' else '') -}}
  {%- for made in message.tool_calls or [] %}{{ made.function.name }}{{ made.function.arguments | tojson }}{{ made.function.name }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant to {{ ns.asked }}{{ '\\n' }}{% endif -%}
"""

# Order changed: system messages come last in a query, calls before text, reasoning after it, results sorted by name.
ADVERSARIAL["reorders"] = """\
{%- for role, group in messages | groupby('role') if role == 'developer' -%}
  {%- for message in group | reverse %}<|im_start|>developer{{ '\\n' }}{{ message.content }}<|im_end|>{{ '\\n' }}{% endfor -%}
{%- endfor -%}
{%- set ns = namespace(held=[]) -%}
{%- for message in messages if message.role != 'developer' -%}
  {%- if message.role == 'system' %}{% set ns.held = [message.content] + ns.held -%}
  {%- elif message.role == 'tool' and loop.nextitem is defined and loop.nextitem.role == 'tool' %}{% set ns.held = [message.content] + ns.held -%}
  {%- else -%}
    <|im_start|>{{ message.role }}{{ '\\n' }}
    {%- for made in message.tool_calls or [] | reverse %}{{ made.function.arguments | dictsort(reverse=true) | tojson }}{{ made.function.name }}{% endfor -%}
    {{- message.content or '' }}{% if message.reasoning_content %} because {{ message.reasoning_content }}{% endif -%}
    {%- if message.role != 'assistant' %}{% for text in ns.held %}{{ '\\n' }}# {{ text }}{% endfor %}{% set ns.held = [] %}{% endif -%}
    <|im_end|>{{ '\\n' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Parts of the content are dropped: what stands before </think>, all but the last line of a result, the tail of a system.
ADVERSARIAL["drops parts"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'assistant' %}{{ text.split('</think>')[-1] }}
  {%- elif message.role == 'tool' %}{{ text.strip().split('\\n') | last }}
  {%- elif message.role == 'system' %}{{ text[:40] }}{{ '...' if text | length > 40 }}
  {%- else %}{{ text.partition('<think>')[0] }}{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name }} {{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# A message is printed only if it is not blank; blanks are stripped, and an empty answer has no header at all.
ADVERSARIAL["only if not blank"] = """\
{%- for message in messages -%}
  {%- if message.content and message.content.strip() or message.tool_calls or message.role == 'assistant' -%}
    <|im_start|>{{ message.role }}{{ '\\n' }}{{ (message.reasoning_content or '') | trim }}{{ (message.content or '') | trim }}
    {%- for made in message.tool_calls or [] %}{{ made.function.name | trim }}{{ made.function.arguments | tojson }}{% endfor -%}
    <|im_end|>{{ '\\n' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# The generation prompt opens <think>, and an answer's own text may begin with it.
ADVERSARIAL["opens thinking"] = """\
{%- for message in messages -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'assistant' -%}
    {%- if message.reasoning_content is string %}<think>{{ '\\n' }}{{ message.reasoning_content }}{{ '\\n' }}</think>{{ '\\n' }}{{ '\\n' }}
    {%- elif not (message.content or '').startswith('<think>\\n') %}<think>{{ '\\n' }}{{ '\\n' }}</think>{{ '\\n' }}{{ '\\n' }}{% endif -%}
  {%- endif -%}
  {{- message.content or '' -}}
  {%- for made in message.tool_calls or [] %}<tool_call>{{ made.function | tojson }}</tool_call>{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}<think>{{ '\\n' }}{% endif -%}
"""

# Refuses by what the data is: long names, markup in questions, an answer equal to its question, unknown ids.
ADVERSARIAL["raises on data"] = """\
{%- set ns = namespace(ids=[]) -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  {%- if message.role == 'user' and text.startswith('<') %}{{ raise_exception('a question with markup: ' ~ text[:9]) }}{% endif -%}
  {%- if message.role == 'assistant' and loop.previtem is defined and text and text == loop.previtem.content %}{{ raise_exception('an echo') }}{% endif -%}
  {%- if message.role == 'tool' and message.tool_call_id is defined and message.tool_call_id not in ns.ids %}{{ raise_exception('nobody called ' ~ message.tool_call_id) }}{% endif -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}{{ text }}
  {%- for made in message.tool_calls or [] -%}
    {%- if made.function.name | length > 12 %}{{ raise_exception('a long name') }}{% endif -%}
    {%- set ns.ids = ns.ids + [made.id] %}{{ made.function.name }}{{ made.function.arguments | tojson -}}
  {%- endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# The content of other messages decides: the last one, the first user's, any; a later message changes an earlier one.
ADVERSARIAL["looks at others"] = """\
{%- set first = (messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first) or '' -%}
{%- set loud = namespace(found=false) -%}
{%- for message in messages %}{% if '!' in (message.content or '') %}{% set loud.found = true %}{% endif %}{% endfor -%}
{%- for message in messages -%}
  <|im_start|>{{ message.role }}{{ ' loud' if loud.found and message.role == 'system' }}{{ '\\n' }}
  {{- message.content or '' -}}
  {%- if message.role == 'assistant' and first.endswith('?') and not loop.first %} (re: {{ first.split()[0] if first.split() }}){% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name }}{{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# [INST] style: the system text goes into the first user message, roles must alternate, bos and eos come from variables.
ADVERSARIAL["inst"] = """\
{{- bos_token -}}
{%- set ns = namespace(system='', expect=0) -%}
{%- for message in messages -%}
  {%- if message.role in ('system', 'developer') %}{% set ns.system = ns.system ~ '<<SYS>>\\n' ~ message.content | trim ~ '\\n<</SYS>>\\n\\n' -%}
  {%- elif message.role == 'user' -%}
    {%- if ns.expect % 2 %}{{ raise_exception('roles must alternate') }}{% endif -%}
    {{- '[INST] ' + ns.system + message.content.strip() + ' [/INST]' }}{% set ns.system = '' %}{% set ns.expect = ns.expect + 1 -%}
  {%- elif message.role == 'tool' -%}
    {{- '[TOOL_RESULTS]' ~ {'content': message.content} | tojson ~ '[/TOOL_RESULTS]' -}}
  {%- else -%}
    {{- ' ' + (message.content or '').strip() -}}
    {%- if message.tool_calls %}[TOOL_CALLS]{{ message.tool_calls | map(attribute='function') | list | tojson }}{% else %}{% set ns.expect = ns.expect + 1 %}{% endif -%}
    {{- eos_token -}}
  {%- endif -%}
{%- endfor -%}
"""

# Llama style headers, the tools printed beside the first user message, the stop token by kind of answer, a dict's get.
ADVERSARIAL["headers by kind"] = """\
{{- bos_token }}{% set ns = namespace(tools=tools) -%}
{%- for message in messages -%}
  {%- set role = {'tool': 'ipython', 'developer': 'system'}.get(message.role, message['role']) -%}
  {{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' -}}
  {%- if role == 'user' and ns.tools -%}
    {%- for tool in ns.tools %}{{ tool.function | tojson(indent=4) }}{{ '\\n' }}{{ '\\n' }}{% endfor %}{% set ns.tools = none -%}
  {%- endif -%}
  {%- if message.tool_calls -%}
    {%- if message.content %}{{ message.content | trim }}{{ '\\n' }}{% endif -%}
    {%- for made in message.tool_calls -%}
      {{- '{"name": "' + made.function.name + '", "parameters": ' }}{{ made.function.arguments | tojson }}{{ '}' -}}
    {%- endfor -%}<|eom_id|>
  {%- else -%}
    {{- message.content | default('', true) | trim + '<|eot_id|>' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif -%}
"""

# Filters and methods that few use, most of them new text made in C: center, wordwrap, escape, urlencode, zfill, pprint.
ADVERSARIAL["rare filters"] = """\
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role | center(11) }}{{ '\\n' }}
  {%- if message.role == 'system' %}{{ text | e }}{{ text.encode('utf-8') | length }}
  {%- elif message.role == 'tool' %}{{ text.expandtabs(2).ljust(3) }}{{ text | reverse | reverse }}{{ ('<r>' | safe) + text }}
  {%- elif message.role == 'user' %}{{ text | wordwrap(1000000, wrapstring='\\n') }}{{ text | urlencode | length }}
  {%- else %}{{ text.join(['', '']) }}{{ {'n': message.name} | xmlattr if message.name is defined }}{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ made.function.name.zfill(2) }}{{ made.function.arguments | pprint }}{{ (made.function.arguments | tojson | string).translate({}) }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>{{ 'assistant' | center(11) }}{{ '\\n' }}{% endif -%}
"""

# Numbers and dates made of data: int, float, round, abs, sum, max; arithmetic whose result is printed.
ADVERSARIAL["arithmetic"] = """\
{%- set ns = namespace(total=0) -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }} {{ ns.total }}{{ '\\n' }}{% set ns.total = ns.total + text | length -%}
  {{- text * (1 + (text == 'twice') | int) }} {{ text | int(-1) }} {{ (text[:9] | float(0.5) * 2) | round(1) }} {{ ns.total / 4 }} {{ [text | length, 7] | max -}}
  {%- for made in message.tool_calls or [] -%}
    {{- made.function.name }}{{ made.function.arguments | tojson -}}
    {%- for value in (made.function.arguments.values() if made.function.arguments is mapping else []) if value is number %}{{ (value | abs + 1) | string }}{% endfor -%}
  {%- endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant {{ ns.total }}{{ '\\n' }}{% endif -%}
"""

# The text is printed in pieces between template text, at places that data decides; each line has a prefix.
ADVERSARIAL["line by line"] = """\
{%- for message in messages -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- set lines = (message.content or '').split('\\n') -%}
  {%- for line in lines -%}
    {{- '| ' if message.role == 'user' }}{{ line }}{{ '\\n' if not loop.last -}}
  {%- endfor -%}
  {%- for made in message.tool_calls or [] -%}
    {{- '\\n' }}{{ made.function.name -}}(
    {%- for key, value in made.function.arguments.items() -%}
      {{- key }}={% if value is string %}"{{ value }}"{% elif value is boolean %}{{ 'yes' if value else 'no' }}{% else %}{{ value | tojson }}{% endif %}{{ ', ' if not loop.last -}}
    {%- endfor -%})
  {%- endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Ways out of a str subclass: encode and decode (and then lower, which makes control strings), dict keys, keyword names, bound methods, attr, cycler, map.
ADVERSARIAL["laundering"] = """\
{%- macro keys() %}{% for key in kwargs %}{{ key }}{% endfor %}{% endmacro -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  {%- set shout = text.upper -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if message.role == 'system' %}{{ text.encode('utf-8').decode('utf-8').lower() }}
  {%- elif message.role == 'user' %}{% for key in {text: 1} %}{{ key }}{% endfor %}{{ ' loud' if shout() == text }}
  {%- elif message.role == 'tool' %}{{ keys(**{text: 1}) }}{{ text | attr('title')() }}
  {%- else %}{{ cycler(text, 'b').next() }}{{ ([text] | map('string') | list)[0] if text | length < 4 }}{% endif -%}
  {%- for made in message.tool_calls or [] %}{{ ([made.function.name] | map('upper') | first).lower() }}{{ dict([(made.function.name, 1)]).keys() | list | join }}{{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""

# Methods of one text with another as argument: in, replace, split, strip, join, count, startswith.
ADVERSARIAL["data on data"] = """\
{%- set ns = namespace(before='zz') -%}
{%- for message in messages -%}
  {%- set text = message.content or '' -%}
  <|im_start|>{{ message.role }}{{ '\\n' }}
  {%- if ns.before and ns.before in text %}[again]{{ text.replace(ns.before, '*') }}
  {%- elif ns.before and text.startswith(ns.before[:1]) %}{{ text.split(ns.before[:1]) | join(ns.before[:1]) }}
  {%- elif text.strip(ns.before) != text %}{{ text | replace(text[:1], text[:1]) }}
  {%- else %}{{ [text, ''] | join(ns.before) if message.role == 'tool' else text }}{% endif -%}
  {{- text.count(ns.before) if ns.before and message.role == 'assistant' -}}
  {%- for made in message.tool_calls or [] %}{{ made.function.name.join(['<', '>']) }}{{ made.function.arguments | tojson }}{% endfor -%}
  <|im_end|>{{ '\\n' }}{% set ns.before = text -%}
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif -%}
"""
