"""Every option of the exporter, in one table: its flag, its key in the file, its help.

A key in the configuration file and a flag are the same option: dots nest, and underscores become
hyphens. So `--flows.idle-timeout 60s` is `flows: {idle_timeout: 60s}`. An option with a shorthand
may be given by that as well: `interface: [eth0]` is short for `interface: {name: [eth0]}`, and
`--interface` for `--interface.name`.
"""

from __future__ import annotations

import os

from exporter import values
from exporter.option import Option, flag_of
from exporter.otlp_options import OTLP_OPTIONS

__all__ = ["CONFIG_FILE", "HEALTHY_PATH", "OPTIONS", "READY_PATH", "Option", "flag_of"]

HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"

FLOWS_MAX_LIMIT = 4_000_000
"""A bound on the kernel memory that a slip of the finger can ask for: some 600 MB."""

RING_SIZE_LIMIT = 1 << 30


DOMAINS_MAX_LIMIT = 10_000
"""Each has up to ten series on each node, and more with added labels."""


def _hide_rule(text: str) -> str:
    from exporter.names.hiding import parse_rule  # here: RE2 costs memory

    return parse_rule(text)


def _expected_entry(text: str) -> str:
    from exporter.names.expected import split_entry

    split_entry(text)
    return text


def _network(text: str) -> str:
    from exporter.networks import parse_network

    parse_network(text)
    return text


def _own_network(text: str) -> tuple[str, str]:
    from exporter.names.scope import scope_name
    from exporter.networks import parse_network

    network, equals, name = text.partition("=")
    if not equals:
        raise ValueError(f"must be CIDR=NAME, such as 10.0.0.0/8=office, not {values.quoted(text)}")
    parse_network(network)
    return network, scope_name(name)


OPTIONS = (
    Option(
        key="interface.name",
        shorthand="interface",
        parse=values.interface,
        default=(),
        metavar="NAME|GLOB",
        help="Count on this interface, or on those that match; may be given several times. The"
        " default is the interfaces of the default routes.",
    ),
    Option(
        key="interface.exclude",
        parse=values.interface,
        default=("lo", "docker0", "br-*", "veth*", "cali*", "lxc*", "ifb*", "enP*"),
        metavar="GLOB",
        help="Leave these out of what a glob or the default finds; an exact name is never left out."
        " May be given several times; once with an empty value leaves out nothing.",
    ),
    Option(
        key="interface.static",
        parse=values.switch,
        default="false",
        metavar="",
        help="Attach once, at the start; keep no helper process for interfaces that come later.",
    ),
    Option(
        key="attach",
        parse=values.choice("auto", "tcx", "clsact"),
        default="auto",
        metavar="auto|tcx|clsact",
        help="How to attach: auto is tcx where the kernel has it (6.6), else clsact.",
    ),
    Option(
        key="pin.path",
        parse=values.pin_path,
        default="none",
        metavar="DIR|none",
        help="Pin programs and counts in this directory of a BPF file system, such as"
        " /sys/fs/bpf/ayaflow: they go on counting until the next start takes them over.",
    ),
    Option(
        key="user",
        parse=values.user,
        default="65534",
        metavar="USER",
        help="Become this user, a name or a number, once the programs are attached.",
    ),
    Option(
        key="web.listen_address",
        parse=values.listen_address,
        default=":10517",
        metavar="HOST:PORT",
        help="Where to serve the metrics.",
    ),
    Option(
        key="web.telemetry_path",
        parse=values.url_path("/", HEALTHY_PATH, READY_PATH),
        default="/metrics",
        metavar="PATH",
        help="Under which path.",
    ),
    Option(
        key="web.config.file",
        parse=values.file_path,
        default="none",
        metavar="FILE",
        help="TLS, users and headers of the web server, in the file format of Prometheus'"
        " exporters.",
    ),
    Option(
        key="web.allow",
        parse=_network,
        default=(),
        metavar="CIDR",
        help="Answer only clients in this network, such as 10.0.0.0/8. May be given several times;"
        " the default is everybody.",
    ),
    Option(
        key="flows.max",
        parse=values.integer(1, FLOWS_MAX_LIMIT),
        default="50000",
        metavar="N",
        help="How many flows to tell apart at a time; what comes on top of them is counted"
        " together, as unknown.",
    ),
    Option(
        key="flows.idle_timeout",
        parse=values.duration("100ms", "24h"),
        default="60s",
        metavar="DURATION",
        help="When a silent flow is over, of UDP and others; TCP connections get five times as"
        " long. In a table that is half full, flows of one or two packets get 10s.",
    ),
    Option(
        key="ring.size",
        parse=values.power_of_two_size(os.sysconf("SC_PAGE_SIZE"), RING_SIZE_LIMIT),
        default="64KiB",
        metavar="SIZE",
        help="Of the ring that tells of new and ended flows: a power of two, a page at least.",
    ),
    Option(
        key="ring.payloads",
        parse=values.power_of_two_size(os.sysconf("SC_PAGE_SIZE"), RING_SIZE_LIMIT),
        default="128KiB",
        metavar="SIZE",
        help="Of the ring of payloads that can teach a name: a power of two, a page at least.",
    ),
    Option(
        key="deep_inspect",
        parse=values.switch,
        default="true",
        metavar="",
        help="Learn names from DNS, TLS, QUIC and HTTP/1 payloads.",
    ),
    Option(
        key="names.interface",
        parse=values.interface,
        default=(),
        metavar="NAME|GLOB",
        help="Listen for DNS on this interface, or on those that match, and count nothing there:"
        " lo with a local resolver, cali* with a cache on the node. May be given several times.",
    ),
    Option(
        key="names.grace",
        parse=values.duration("0s", "60s"),
        default="2s",
        metavar="DURATION",
        help="How long a new flow waits for its name before it counts as unknown.",
    ),
    Option(
        key="domains.mode",
        parse=values.choice("full", "registrable", "off"),
        default="full",
        metavar="full|registrable|off",
        help="Show whole names, what somebody registered of them (by the public suffix list), or"
        " none.",
    ),
    Option(
        key="domains.max",
        parse=values.integer(1, DOMAINS_MAX_LIMIT),
        default="200",
        metavar="N",
        help="How many domains have series of their own; the rest counts as other.",
    ),
    Option(
        key="domains.idle",
        parse=values.duration("1m", "8784h"),
        default="24h",
        metavar="DURATION",
        help="When a domain without traffic loses its series.",
    ),
    Option(
        key="domains.hide",
        parse=_hide_rule,
        default=(),
        metavar="REGEX",
        help="Count names that this finds as other (RE2; anywhere in the name). May be given"
        " several times.",
    ),
    Option(
        key="domains.expected",
        parse=_expected_entry,
        default=(),
        metavar="NAME",
        help="Sum the bytes of all other domains in ayaflow_unexpected_bytes_total: example.com,"
        " *.example.com (what is below it) or .example.com (both). May be given several times.",
    ),
    Option(
        key="metrics.labels",
        parse=values.choice("role", "scope", "transport"),
        default=(),
        metavar="role|scope|transport",
        help="Add this label to the series of domains. May be given several times.",
    ),
    Option(
        key="metrics.scopes",
        parse=_own_network,
        default=(),
        metavar="CIDR=NAME",
        help="The value of the label scope for addresses of this network of your own. May be given"
        " several times.",
    ),
    *OTLP_OPTIONS,
    Option(
        key="history.path",
        parse=values.file_path,
        default="/var/lib/ayaflow/history.db",
        metavar="FILE",
        help="Keep the counts here, so that they go on after a restart; none keeps nothing.",
    ),
    Option(
        key="history.interval",
        parse=values.duration("1s", "1h"),
        default="10s",
        metavar="DURATION",
        help="How often a row of each series that has changed is kept.",
    ),
    Option(
        key="history.retention",
        parse=values.duration("1m", "168h"),
        default="1h",
        metavar="DURATION",
        help="How long these rows are kept.",
    ),
    Option(
        key="history.max_size",
        parse=values.size("4MiB", "16GiB"),
        default="64MiB",
        metavar="SIZE",
        help="How large the file may become: the oldest rows go first.",
    ),
    Option(
        key="log.level",
        parse=values.choice("debug", "info", "warning", "error"),
        default="info",
        metavar="debug|info|warning|error",
        help="Log this and what is worse.",
    ),
    Option(
        key="log.format",
        parse=values.choice("logfmt", "json"),
        default="logfmt",
        metavar="logfmt|json",
        help="How a line of the log is written.",
    ),
)

CONFIG_FILE = "config.file"
"""Only a flag: a configuration file names no other."""
