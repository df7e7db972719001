/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counts every packet that passes a device, twice: in the totals of the device, and in its flow. What
 * finds no room in the flow table is counted as overflow, what is not IP as such, so that
 *
 *	totals = flows + overflow + non-IP
 *
 * always holds, to the byte. The programs watch and never decide: they return TC_ACT_UNSPEC, and the
 * next program in the chain sees the packet.
 *
 * The loader defines FLOW_SLOTS (a power of two, 64 at least) and its binary logarithm, DEVICE_SLOTS,
 * CPUS, FLOW_EVENT_PAGES, PAGE_SIZE and the secret HASH_KEY_0 .. HASH_KEY_12; and, where payloads are
 * to be inspected, PAYLOAD_PAGES. With PIN_PATH the maps are those that are pinned in that directory.
 */
#include "flow_events.h"
#include "flow_table.h"
#include "parsing.h"
#include "payload.h"
#include "wire.h"

#define TC_ACT_UNSPEC (-1)
#define PACKET_LOOPBACK 5
#define WAKEUPS_PER_RING 8

/* What bcc calls a section is the type of a map, and after a colon where it is pinned. */
#ifdef PIN_PATH
#define PINNED(name) ":" PIN_PATH "/" name
#else
#define PINNED(name) ""
#endif

/* As BPF_RINGBUF_OUTPUT of bcc, which cannot be pinned. */
#define RING(ring, pages)                                                                          \
	struct ring##_table_t {                                                                    \
		int key;                                                                           \
		__u32 leaf;                                                                        \
		int (*ringbuf_output)(void *, __u64, __u64);                                       \
		void *(*ringbuf_reserve)(__u64);                                                   \
		void (*ringbuf_submit)(void *, __u64);                                             \
		__u32 max_entries;                                                                 \
	};                                                                                         \
	__attribute__((section("maps/ringbuf" PINNED(#ring)))) struct ring##_table_t ring = {      \
		.max_entries = (pages)*PAGE_SIZE}

/*
 * bcc makes a function for each map that prints all fields of its entries, and optimizes it: of these,
 * thousands, in a third of the time that everything takes. Of bytes it makes one string.
 */
#define OPAQUE(type)                                                                               \
	enum { type##_size = sizeof(struct type) };                                                \
	struct type##_bytes {                                                                      \
		char bytes[type##_size];                                                           \
	}

OPAQUE(device_table);
OPAQUE(device_totals);
OPAQUE(flow_bucket);

BPF_F_TABLE("array" PINNED("devices"), __u32, struct device_table_bytes, devices, 1,
	    BPF_F_MMAPABLE);
BPF_F_TABLE("array" PINNED("totals"), __u32, struct device_totals_bytes, totals,
	    DEVICE_SLOTS *CPUS * 2, BPF_F_MMAPABLE);
BPF_F_TABLE("array" PINNED("flows"), __u32, struct flow_bucket_bytes, flows,
	    FLOW_SLOTS / FLOW_BUCKET_SLOTS, BPF_F_MMAPABLE);
RING(flow_events, FLOW_EVENT_PAGES);

#ifdef PAYLOAD_PAGES
struct payload_record {
	struct payload_event event;
	__u8 data[PAYLOAD_DATA_MAX];
};

RING(payloads, PAYLOAD_PAGES);
OPAQUE(payload_record);
BPF_PERCPU_ARRAY(payload_scratch, struct payload_record_bytes, 1);
#endif

/* An update of this map returns only when every program that was running has ended: a grace period. */
BPF_ARRAY(grace_inner, __u64, 1);
BPF_ARRAY_OF_MAPS(grace, "grace_inner", 1);

/* The loader makes two programs of this one, each with its direction in the places of this. */
#define DIRECTION_PLACE "0x41594146"

static __always_inline __u64 direction_of_this_program(void)
{
	__u64 direction;

	asm volatile("%0 = " DIRECTION_PLACE : "=r"(direction));
	return direction;
}

/* The loader puts the address of a map's value, or a map, in the places of these: bcc cannot. */
#define DEVICES_PLACE "0x5359414644455653 ll"
#define FLOW_EVENTS_PLACE "0x5359414645564e54 ll"
#define PAYLOADS_PLACE "0x5359414650594c44 ll"

static __always_inline struct device find_device(__u32 ifindex)
{
	struct device none = {.link_type = LINK_OTHER};
	const struct device_table *table;
	__u64 i;

	asm volatile("%0 = " DEVICES_PLACE : "=r"(table));
#pragma clang loop unroll(disable)
	for (i = 0; i < DEVICE_PROBES; i++) {
		struct device device = table->buckets[(ifindex + i) & (DEVICE_BUCKETS - 1)];

		if (device.ifindex == ifindex)
			return device;
	}
	return none;
}

/*
 * The reader comes by itself, now and then. It is woken before that by the record with which one more part
 * of the ring is full; another has its turn where two that come at once step over it together.
 */
static __always_inline __u64 wakeup(void *ring, const __u64 ring_bytes, __u64 record_bytes)
{
	__u64 waiting = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 then = waiting + BPF_RINGBUF_HDR_SZ + record_bytes;
	const __u64 part = ring_bytes / WAKEUPS_PER_RING;

	return then / part == waiting / part ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;
}

/* The index of a flow's entry in the table: the verifier knows no more of it than that it is a number. */
static __always_inline __u32 slot_of(const struct flow_entry *flow)
{
	__u32 zero = 0;
	const struct flow_entry *first = (void *)flows.lookup(&zero);

	return first ? ((long)flow - (long)first) / sizeof(*flow) : 0;
}

static __always_inline void send_event(__u32 type, struct flow_entry *flow,
				       struct device_totals *cell)
{
	struct flow_event *event;
	__u64 flags;
	void *ring;

	asm volatile("%0 = " FLOW_EVENTS_PLACE : "=r"(ring));
	flags = wakeup(ring, FLOW_EVENT_PAGES * PAGE_SIZE, sizeof(*event));
	event = flow_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		cell->dropped_events++;
		return;
	}
	event->boot_ns = bpf_ktime_get_boot_ns();
	event->type = type;
	event->slot = slot_of(flow);
	event->flow = *flow;
	flow_events.ringbuf_submit(event, flags);
}

static __always_inline void end_flow(struct flow_entry *flow, struct device_totals *cell)
{
	__u64 head = flow->head;

	if (replace_head(flow, head, head | FLOW_ENDED << FLOW_HEAD_FLAGS))
		send_event(FLOW_EVENT_END, flow, cell);
}

/* Adds to the flow's entry, which it makes where there is none yet. 0: there was no room. */
static __always_inline struct flow_entry *count_flow(const struct packet *packet,
						     struct wire_counts wire, __u64 device_slot,
						     const __u64 direction,
						     struct device_totals *cell)
{
	__u64 head = head_of(packet, device_slot, direction);
	__u64 start = first_slot(packet, device_slot, direction);
	__u32 bucket_index = start / FLOW_BUCKET_SLOTS;
	struct flow_bucket *bucket = (void *)flows.lookup(&bucket_index);
	__u8 tcp_flags = packet->tcp_flags;
	struct flow_entry *flow;
	__u32 place = 0, reverse_place = 0;
	int found, reverse_found;
	struct flow_key reverse;

	if (!bucket)
		return 0;
	found = !!find_flow(bucket, start, head, packet->key, 2, FLOW_PROBES, &place);
	if (found && (tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) == TCP_SYN) {
		__u64 old;

		flow = &bucket->slots[place];
		old = flow->head;
		if (old & FLOW_ENDED << FLOW_HEAD_FLAGS) { /* the ports are used again */
			replace_head(flow, old, (old & ~FLOW_HEAD_STATE_MASK) | FLOW_SUPERSEDED);
			found = 0;
		} else { /* whose end was not seen; what follows has a name of its own */
			flow->key.inspection = 0;
		}
	}
	if (!found && !claim_slot(bucket, start, packet, &place))
		return 0;
	flow = &bucket->slots[place];
	if (found) {
		__sync_fetch_and_add(&flow->packets, wire.packets);
		__sync_fetch_and_add(&flow->bytes, wire.bytes);
		if (!(tcp_flags & (TCP_FIN | TCP_RST)))
			return flow;
	} else {
		flow->key = packet->key;
		flow->packets = wire.packets;
		flow->bytes = wire.bytes;
	}

	reverse.source[0] = packet->key.destination[0];
	reverse.source[1] = packet->key.destination[1];
	reverse.destination[0] = packet->key.source[0];
	reverse.destination[1] = packet->key.source[1];
	reverse.ports = packet->key.ports << 16 | packet->key.ports >> 16;
	reverse_found = !!find_flow(bucket, start ^ 1, head ^ 1ULL << FLOW_HEAD_DIRECTION, reverse,
				    2, FLOW_PROBES, &reverse_place);

	if (!found) {
		int other_opened = reverse_found && bucket->slots[reverse_place].head &
							    FLOW_OPENER << FLOW_HEAD_FLAGS;
		int opener = tcp_flags & TCP_SYN ? !(tcp_flags & TCP_ACK) : !other_opened;

		if (opener)
			head |= FLOW_OPENER << FLOW_HEAD_FLAGS;
		__sync_lock_test_and_set(&flow->head, head);
		send_event(FLOW_EVENT_NEW, flow, cell);
	}
	if (tcp_flags & (TCP_FIN | TCP_RST))
		end_flow(flow, cell);
	if (tcp_flags & TCP_RST && reverse_found)
		end_flow(&bucket->slots[reverse_place], cell);
	return flow;
}

/* Adds one packet over IPv4 to the flow's entry. 0: it is not in the first places that are searched. */
static __always_inline struct flow_entry *count_known(struct __sk_buff *skb,
						      const struct packet *packet,
						      __u64 device_slot, const __u64 direction)
{
	__u64 start = first_slot(packet, device_slot, direction);
	__u32 bucket_index = start / FLOW_BUCKET_SLOTS;
	struct flow_bucket *bucket = (void *)flows.lookup(&bucket_index);
	struct flow_entry *flow;
	__u32 place;

	if (!bucket)
		return 0;
	flow = find_flow(bucket, start, head_of(packet, device_slot, direction), packet->key, 1,
			 FLOW_FIRST_PROBES, &place);
	if (!flow)
		return 0;
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	return flow;
}

/* Whether more of its payload is wanted, DNS apart: of that always. */
static __always_inline int is_inspected(const struct flow_entry *flow)
{
#ifdef PAYLOAD_PAGES
	return flow->key.inspection != INSPECTION_DONE;
#else
	return 0;
#endif
}

#ifdef PAYLOAD_PAGES
/*
 * How much to copy of *len* bytes: *most* at most, a power of two; 0 where there are none. The verifier
 * must see that it is within 1 and *most*. So one less is masked, and hidden from the compiler, which
 * would else drop the mask. The sum is hidden too: else the compiler asks for 0 by comparing both, after
 * which Linux 6.12 knows of neither what it was.
 */
static __always_inline __u64 copy_len(__u64 len, const __u64 most)
{
	__u64 less_one = (len < most ? len : most) - 1;

	asm volatile("" : "+r"(less_one));
	if (!len)
		return 0;
	less_one &= most - 1;
	less_one++;
	asm volatile("" : "+r"(less_one));
	return less_one;
}

static __always_inline void send_payload(struct __sk_buff *skb, const struct packet *packet,
					 const struct flow_entry *flow, __u64 head,
					 struct payload rest, struct payload_record *record,
					 struct device_totals *cell)
{
	__be32 sequence = 0;
	int i;

	if (packet->protocol == PROTOCOL_TCP)
		bpf_skb_load_bytes(skb, packet->l4_offset + TCP_SEQUENCE_OFFSET, &sequence, 4);
	record->event.boot_ns = bpf_ktime_get_boot_ns();
	record->event.head = head;
	record->event.key = packet->key;
	record->event.slot = flow ? slot_of(flow) : PAYLOAD_NO_SLOT;
	/* The SYN has a number of its own, before the data that it may carry (RFC 7413). */
	record->event.sequence = bpf_ntohl(sequence) + !!(packet->tcp_flags & TCP_SYN);
	record->event.segment_len = packet->protocol == PROTOCOL_UDP ? skb->gso_size : 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < PAYLOAD_CHUNKS_MAX; i++) {
		__u64 len = copy_len(rest.len, PAYLOAD_DATA_MAX), flags;
		void *ring;

		if (!len || bpf_skb_load_bytes(skb, rest.offset, record->data, len) != 0)
			return;
		record->event.data_len = len;
		asm volatile("%0 = " PAYLOADS_PLACE : "=r"(ring));
		flags = wakeup(ring, PAYLOAD_PAGES * PAGE_SIZE, sizeof(record->event) + len);
		if (payloads.ringbuf_output(record, sizeof(record->event) + len, flags) != 0)
			cell->dropped_payloads++;
		if (packet->protocol == PROTOCOL_UDP)
			return;
		rest.offset += len;
		rest.len -= len;
		record->event.sequence += len;
	}
}

/* Sends what of the payload can teach a name. *flow* is 0 where there is no entry. */
static __always_inline void inspect(struct __sk_buff *skb, const struct packet *packet,
				    struct flow_entry *flow, __u64 head, struct device_totals *cell)
{
	__u32 zero = 0;
	struct payload_record *record = (void *)payload_scratch.lookup(&zero);
	union {
		struct payload_start start;
		__u8 bytes[PAYLOAD_START_MAX];
	} begin = {};
	struct payload rest;
	__u32 inspection;
	__u64 len;

	if (!record)
		return;
	rest = find_payload(skb, packet);
	if (rest.len == 0)
		return;
	if (!is_dns(packet)) {
		if (!flow)
			return;
		len = copy_len(rest.len, sizeof(begin));
		if (!len || bpf_skb_load_bytes(skb, rest.offset, &begin, len) != 0)
			return;
		inspection = flow->key.inspection;
		rest.len = wanted_of(&begin.start, packet->protocol, rest.len,
				     flow->head & FLOW_OPENER << FLOW_HEAD_FLAGS, &inspection);
		flow->key.inspection = inspection;
	}
	if (rest.len)
		send_payload(skb, packet, flow, head, rest, record, cell);
}
#endif

/*
 * Counts a packet that is nothing but one more of a known flow, as nearly all are. They are told apart by
 * no more than it takes, since what a packet costs is mostly the code that it runs through: the rest of
 * the kernel leaves none of it in the nearest cache.
 */
static __always_inline struct flow_entry *count_plain(struct __sk_buff *skb, struct device device,
						      struct device_totals *cell)
{
	struct packet packet = {};
	struct flow_entry *flow;

	if (device.link_type != LINK_ETHERNET || device.listen_only || skb->gso_size ||
	    skb->vlan_proto || !parse_plain(skb, &packet))
		return 0;
	flow = count_known(skb, &packet, device.slot, direction_of_this_program());
	if (flow) {
		cell->packets++;
		cell->bytes += skb->len;
	}
	return flow;
}

/* Counts any packet, and inspects it. *flow*: where it is counted already, else 0. */
static __always_inline void count_any(struct __sk_buff *skb, struct device device,
				      struct flow_entry *flow, struct device_totals *cell)
{
	const __u64 direction = direction_of_this_program();
	struct frame frame = frame_of(skb);
	struct packet packet = {};
	int is_ip = parse_packet(&frame, device.link_type, &packet);

	if (!flow && !device.listen_only) {
		struct wire_counts wire = count_wire(skb, &frame, &packet);

		cell->packets += wire.packets;
		cell->bytes += wire.bytes;
		if (!is_ip) {
			cell->non_ip_packets += wire.packets;
			cell->non_ip_bytes += wire.bytes;
			return;
		}
		flow = count_flow(&packet, wire, device.slot, direction, cell);
		if (!flow) {
			cell->overflow_packets += wire.packets;
			cell->overflow_bytes += wire.bytes;
		}
	}
#ifdef PAYLOAD_PAGES
	if (is_dns(&packet) || (flow && is_tcp_or_udp(&packet) && is_inspected(flow)))
		inspect(skb, &packet, flow, head_of(&packet, device.slot, direction), cell);
#endif
}

int monitor(struct __sk_buff *skb)
{
	struct device device = find_device(skb->ifindex);
	__u32 index =
		(device.slot * CPUS + bpf_get_smp_processor_id()) * 2 + direction_of_this_program();
	struct device_totals *cell = (void *)totals.lookup(&index);
	struct flow_entry *flow;

	if (!cell)
		return TC_ACT_UNSPEC;
	/* The sender's own copy of what it sent to a group or to all: it came from no wire. */
	if (skb->pkt_type == PACKET_LOOPBACK && direction_of_this_program() == FLOW_INGRESS)
		return TC_ACT_UNSPEC;
	flow = count_plain(skb, device, cell);
	if (!flow || is_inspected(flow))
		count_any(skb, device, flow, cell);
	return TC_ACT_UNSPEC;
}
