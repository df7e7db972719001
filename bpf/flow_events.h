/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel program and the exporter share: the one truth about the layout of every record.
 * exporter/capture/records.py says the same in Python, and a test compares the two.
 *
 * Every counter is in wire units: packets as they leave or reach the wire, bytes with the L2 header
 * (no preamble, no frame check sequence).
 */
#ifndef AYAFLOW_FLOW_EVENTS_H
#define AYAFLOW_FLOW_EVENTS_H

#include <linux/types.h>

/* Another one: pinned entries of earlier programs are not found, or mean something else. */
#define RECORD_LAYOUT_VERSION 5

enum flow_direction {
	FLOW_INGRESS = 0,
	FLOW_EGRESS = 1,
};

/*
 * A slot of the flow table goes FREE -> CLAIM -> LIVE in the kernel and LIVE -> CLOSING -> FREE in
 * the exporter. A connection that reuses the ports of an ended one makes its entry SUPERSEDED, which
 * the exporter treats as CLOSING. The program adds to LIVE entries only.
 */
enum flow_state {
	FLOW_FREE = 0,
	FLOW_CLAIM = 1,
	FLOW_LIVE = 2,
	FLOW_CLOSING = 3,
	FLOW_SUPERSEDED = 4,
};

enum flow_flag {
	FLOW_OPENER = 1, /* this direction opened the connection */
	FLOW_ENDED = 2, /* FIN or RST was seen */
};

/* Where the fields lie in flow_entry.head, as shifts of the 64-bit word. The state is the low byte. */
enum flow_head_shift {
	FLOW_HEAD_FLAGS = 8,
	FLOW_HEAD_PROTOCOL = 16, /* IP protocol number */
	FLOW_HEAD_FAMILY = 24, /* 4 bits: 4 or 6 */
	FLOW_HEAD_DIRECTION = 28, /* 4 bits */
	FLOW_HEAD_DEVICE = 32, /* 16 bits: device.slot */
};

#define FLOW_HEAD_STATE_MASK 0xffULL
#define FLOW_HEAD_FLAGS_MASK 0xff00ULL

/* Addresses and ports in network byte order. An IPv4 address is the first 4 bytes of its field. */
struct flow_key {
	__u64 source[2];
	__u64 destination[2];
	__u32 ports; /* source port first; 0 where the protocol has none, and in later fragments */
	__u32 inspection; /* no part of the key: what of the payload is still looked at */
};

/* One direction of one flow: one cache line. */
struct flow_entry {
	__u64 head;
	struct flow_key key;
	__u64 packets;
	__u64 bytes;
};

/* A flow is searched for, and put, only in one window of FLOW_PROBES slots of one bucket. */
#define FLOW_BUCKET_SLOTS 64
#define FLOW_PROBES 32
#define FLOW_FIRST_PROBES 8 /* of those, where nearly all flows are found */
#define FLOW_KEPT_EVERY 8 /* of the pairs of slots, one is for connections that have come about */

struct flow_bucket {
	struct flow_entry slots[FLOW_BUCKET_SLOTS];
};

enum link_type {
	LINK_OTHER = 0, /* counted, not parsed */
	LINK_ETHERNET = 1,
	LINK_IP = 2, /* no L2 header: tun, wireguard, ppp, ipip */
};

/* Which slot of the totals a device has. The exporter writes it before it attaches the program. */
struct device {
	__u32 ifindex; /* 0: unused */
	__u16 slot; /* 0 is for devices that are not in the table */
	__u8 link_type;
	__u8 listen_only; /* DNS is listened to; nothing is counted */
};

#define DEVICE_BUCKETS 1024
#define DEVICE_PROBES 8

struct device_table {
	struct device buckets[DEVICE_BUCKETS];
};

/* One cell for each device slot, CPU and direction, at (slot * cpus + cpu) * 2 + direction. */
struct device_totals {
	__u64 packets;
	__u64 bytes;
	__u64 overflow_packets; /* of those: no room in the flow table */
	__u64 overflow_bytes;
	__u64 non_ip_packets; /* of those: no IP header that could be read */
	__u64 non_ip_bytes;
	__u64 dropped_events; /* flow events that found their ring full */
	__u64 dropped_payloads; /* payload events that found theirs full */
};

enum flow_event_type {
	FLOW_EVENT_NEW = 1,
	FLOW_EVENT_END = 2,
};

struct flow_event {
	__u64 boot_ns; /* CLOCK_BOOTTIME */
	__u32 type;
	__u32 slot; /* index into the flow table */
	struct flow_entry flow; /* as it was at boot_ns */
};

/*
 * flow_key.inspection: in its low half how many packets with a payload were looked at, in its high half
 * how many bytes of a message that has begun are still wanted. A ClientHello of 16 KB takes 31 packets
 * of the smallest segments in use, of 536 bytes; some may come before it.
 */
#define INSPECTED_PACKETS_MAX 36
#define INSPECTION_DONE INSPECTED_PACKETS_MAX
#define INSPECTION_WANTED_SHIFT 16

#define PAYLOAD_DATA_MAX 4096
#define PAYLOAD_CHUNKS_MAX 6 /* the longest ClientHello in one super-packet */
#define PAYLOAD_NO_SLOT 0xffffffff /* of a device that is only listened to, or with a full table */

/* Some of a packet's payload; data_len bytes follow. A longer payload comes in chunks. */
struct payload_event {
	__u64 boot_ns; /* CLOCK_BOOTTIME */
	__u64 head; /* of the flow, as the key */
	struct flow_key key;
	__u32 slot; /* index into the flow table */
	__u32 sequence; /* TCP: of the first byte that follows */
	__u16 data_len;
	__u16 segment_len; /* UDP: of each datagram in a super-packet, else 0 */
	__u32 reserved;
};

_Static_assert(sizeof(struct payload_event) == 72, "payload event");
_Static_assert(sizeof(struct flow_entry) == 64, "one cache line");
_Static_assert(sizeof(struct flow_bucket) == 4096, "a bucket never crosses a page");
_Static_assert(sizeof(struct device) == 8, "a device is read at once");
_Static_assert(sizeof(struct device_table) == 8192, "device table");
_Static_assert(sizeof(struct device_totals) == 64, "one cache line");
_Static_assert(sizeof(struct flow_event) == 80, "flow event");

#endif
