"""The command line: `python -m alexnet_lib COMMAND`."""

import warnings

import click

from alexnet_lib.errors import AlexNetError, printable
from alexnet_lib.finetuning import commands as finetuning_commands
from alexnet_lib.port import commands as port_commands


class _Commands(click.Group):
    """Turns errors that a user can cause into their message and exit 1; others are bugs."""

    def invoke(self, context):
        before, warnings.formatwarning = warnings.formatwarning, _one_line
        try:
            return super().invoke(context)
        except BrokenPipeError:  # `| head` has read enough; click ends quietly
            raise
        except (AlexNetError, OSError) as error:
            raise click.ClickException(printable(error)) from error
        finally:
            warnings.formatwarning = before


def _one_line(message, *_, **__):
    """Format a warning without the line of code that raised it."""
    return f"Warning: {message}\n"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Port Caffe networks to TensorFlow, prove the ports, and fine-tune AlexNet.

    Data is looked for in $ALEXNET_DATA, else in the clone's data/downloads or, without a clone, in
    the user's cache folder.
    """


@main.command()
@click.argument("what", nargs=-1, type=click.Choice(["ucmerced", "alexnet"]))
def fetch(what):
    """Download the UC Merced images (332 MB), BVLC's official weights (244 MB), or both.

    A download that was cut off goes on where it stopped; checksums are verified before anything is
    installed; what is there already is left alone.

    \b
    Examples:
      python -m alexnet_lib fetch
      python -m alexnet_lib fetch ucmerced
    """  # noqa: D301 - click wants the character
    from alexnet_lib.download import fetch_imagenet_weights, fetch_ucmerced

    fetchers = {"ucmerced": fetch_ucmerced, "alexnet": fetch_imagenet_weights}
    failures = []
    for name in what or fetchers:
        try:
            click.echo(fetchers[name]())
        except OSError as error:  # the other may still be had
            failures.append(str(error))
    if failures:
        raise click.ClickException("\n".join(failures))


for module in (port_commands, finetuning_commands):
    for name in module.__all__:
        if isinstance(command := getattr(module, name), click.Command):
            main.add_command(command)

if __name__ == "__main__":
    main(prog_name="python -m alexnet_lib")
