"""The portal's management commands with their options, for people: `docs/commands.md` is generated from their help."""

import textwrap
from argparse import Action, ArgumentParser
from pathlib import Path

from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from opsera_portal.management.generated import markdown_table


def our_commands() -> dict[str, str]:
    """The names of the portal's own commands, with their app. Excludes those of Django and of libraries."""
    return {
        name: app
        for name, app in sorted(get_commands().items())
        if (Path(settings.BASE_DIR) / app / "management" / "commands" / f"{name}.py").exists()
    }


def as_markdown(name: str) -> str:
    """What ``manage.py NAME --help`` says, without the options that every command of Django has."""
    command = load_command_class(our_commands()[name], name)
    parser = command.create_parser("manage.py", name)
    actions = [action for action in parser._actions if not set(action.option_strings) & _options_of_django()]
    usage = " ".join(["$ manage.py", name, *map(_usage, actions)])
    parts = [
        textwrap.fill(command.help, 120, break_on_hyphens=False),
        f"```console\n{usage}\n```",
    ]
    if actions:
        rows = [[_invocation(action), _meaning(parser, action)] for action in actions]
        parts.append(markdown_table(["Option", "Does"], rows))
    return "\n\n".join(parts)


def _options_of_django() -> set[str]:
    parser = BaseCommand().create_parser("manage.py", "any")
    return {option for action in parser._actions for option in action.option_strings}


def _usage(action: Action) -> str:
    if not action.option_strings:
        name = _name_of_value(action)
        return f"[{name}]" if action.nargs == "?" else name
    option = action.option_strings[0]
    value = "" if action.nargs == 0 else f" {_name_of_value(action)}"
    return f"{option}{value}" if action.required else f"[{option}{value}]"


def _name_of_value(action: Action) -> str:
    if action.metavar:
        return str(action.metavar)
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def _invocation(action: Action) -> str:
    value = "" if action.nargs == 0 else _name_of_value(action)
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{option} {value}`".replace(" `", "`") for option in action.option_strings)


def _meaning(parser: ArgumentParser, action: Action) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog}
