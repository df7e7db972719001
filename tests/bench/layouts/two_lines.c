/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the place of the flow table: entries of two cache lines for both directions of a connection. The
 * first line has the key, as an ingress packet shows it, and what came in; the second what went out.
 */
#include "connection.h"

struct connection {
	struct flow_entry ingress;
	__u64 egress_packets;
	__u64 egress_bytes;
	__u64 reserved[6];
};

#define BUCKET_CONNECTIONS (sizeof(struct flow_bucket) / sizeof(struct connection))

static __always_inline int find_connection(struct connection *bucket, __u32 start, __u64 head,
					   const struct flow_key *key, const int words,
					   const int probes, __u32 *place)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < probes; i++) {
		__u32 at = (start + i) % BUCKET_CONNECTIONS;
		struct flow_entry *entry = &bucket[at].ingress;

		if ((entry->head & ~FLOW_HEAD_FLAGS_MASK) == head &&
		    entry->key.source[0] == key->source[0] &&
		    entry->key.destination[0] == key->destination[0] &&
		    entry->key.ports == key->ports &&
		    (words == 1 || (entry->key.source[1] == key->source[1] &&
				    entry->key.destination[1] == key->destination[1]))) {
			*place = at;
			return 1;
		}
	}
	return 0;
}

static __always_inline int claim_connection(struct connection *bucket, __u32 start, __u32 *place)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < FLOW_PROBES; i++) {
		__u32 at = (start + i) % BUCKET_CONNECTIONS;
		__u64 *head = &bucket[at].ingress.head;

		if (*head == FLOW_FREE &&
		    __sync_val_compare_and_swap(head, FLOW_FREE, FLOW_CLAIM) == FLOW_FREE) {
			*place = at;
			return 1;
		}
	}
	return 0;
}

static __always_inline int count_here(const struct packet *packet, struct wire_counts wire,
				      __u64 device_slot, const __u64 direction,
				      struct device_totals *cell)
{
	__u64 head = head_of(packet, device_slot, FLOW_INGRESS);
	__u32 start = hash_connection(packet, device_slot, direction);
	__u32 bucket_index = start / BUCKET_CONNECTIONS;
	struct connection *bucket = (struct connection *)flows.lookup(&bucket_index);
	__u8 tcp_flags = packet->tcp_flags;
	struct flow_key key = ingress_key(packet, direction);
	struct connection *entry;
	__u32 place = 0;
	__u64 old;

	if (!bucket)
		return 0;
	if (find_connection(bucket, start, head, &key, 2, FLOW_PROBES, &place)) {
		entry = &bucket[place];
		old = entry->ingress.head;
		if (!(tcp_flags & TCP_SYN) || !(old & FLOW_ENDED << FLOW_HEAD_FLAGS)) {
			if (direction == FLOW_INGRESS) {
				__sync_fetch_and_add(&entry->ingress.packets, wire.packets);
				__sync_fetch_and_add(&entry->ingress.bytes, wire.bytes);
			} else {
				__sync_fetch_and_add(&entry->egress_packets, wire.packets);
				__sync_fetch_and_add(&entry->egress_bytes, wire.bytes);
			}
			if (tcp_flags & (TCP_FIN | TCP_RST) &&
			    replace_head(&entry->ingress, old, old | FLOW_ENDED << FLOW_HEAD_FLAGS))
				send_event(FLOW_EVENT_END, &entry->ingress, cell);
			return 1;
		}
		replace_head(&entry->ingress, old, (old & ~FLOW_HEAD_STATE_MASK) | FLOW_SUPERSEDED);
	}
	if (!claim_connection(bucket, start, &place))
		return 0;
	entry = &bucket[place];
	entry->ingress.key = key;
	if (direction == FLOW_INGRESS) {
		entry->ingress.packets = wire.packets;
		entry->ingress.bytes = wire.bytes;
	} else {
		entry->egress_packets = wire.packets;
		entry->egress_bytes = wire.bytes;
	}
	if (direction == FLOW_INGRESS)
		head |= FLOW_OPENER << FLOW_HEAD_FLAGS;
	__sync_lock_test_and_set(&entry->ingress.head, head);
	send_event(FLOW_EVENT_NEW, &entry->ingress, cell);
	return 1;
}

/* Without payload inspection nobody looks behind the pointer: it says whether there was room. */
static __always_inline struct flow_entry *count_flow(const struct packet *packet,
						     struct wire_counts wire, __u64 device_slot,
						     const __u64 direction,
						     struct device_totals *cell)
{
	return (struct flow_entry *)(long)count_here(packet, wire, device_slot, direction, cell);
}

static __always_inline struct flow_entry *count_known(struct __sk_buff *skb,
						      const struct packet *packet,
						      __u64 device_slot, const __u64 direction)
{
	struct flow_key key = ingress_key(packet, direction);
	__u32 start = hash_connection(packet, device_slot, direction), place = 0;
	__u32 bucket_index = start / BUCKET_CONNECTIONS;
	struct connection *bucket = (struct connection *)flows.lookup(&bucket_index);

	if (!bucket || !find_connection(bucket, start, head_of(packet, device_slot, FLOW_INGRESS),
					&key, 1, FLOW_FIRST_PROBES, &place))
		return 0;
	if (direction == FLOW_INGRESS) {
		__sync_fetch_and_add(&bucket[place].ingress.packets, 1);
		__sync_fetch_and_add(&bucket[place].ingress.bytes, skb->len);
	} else {
		__sync_fetch_and_add(&bucket[place].egress_packets, 1);
		__sync_fetch_and_add(&bucket[place].egress_bytes, skb->len);
	}
	return &bucket[place].ingress;
}
