/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the place of the flow table: entries of one cache line for both directions of a connection, known
 * by 128 bits. Of IPv4 these are the addresses and ports themselves, of IPv6 two passes of NH under
 * shifted secret keys (RFC 4418, 5.2.2). The whole key is written beside, once.
 */
#include "connection.h"

struct direction_counts {
	__u64 packets;
	__u64 bytes;
};

struct connection {
	__u64 head;
	__u64 digest[2];
	__u64 reserved;
	struct direction_counts counts[2];
};

struct connection_bucket {
	struct connection slots[FLOW_BUCKET_SLOTS];
};

BPF_F_TABLE("array", __u32, struct flow_key, keys, FLOW_SLOTS, BPF_F_MMAPABLE);

static __always_inline int find_connection(struct connection_bucket *bucket, __u32 start,
					   __u64 head, const __u64 *digest, const int probes,
					   __u32 *place)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < probes; i++) {
		__u32 at = (start + i) % FLOW_BUCKET_SLOTS;
		struct connection *entry = &bucket->slots[at];

		if ((entry->head & ~FLOW_HEAD_FLAGS_MASK) == head &&
		    entry->digest[0] == digest[0] && entry->digest[1] == digest[1]) {
			*place = at;
			return 1;
		}
	}
	return 0;
}

static __always_inline int claim_connection(struct connection_bucket *bucket, __u32 start,
					    __u32 *place)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < FLOW_PROBES; i++) {
		__u32 at = (start + i) % FLOW_BUCKET_SLOTS;
		__u64 *head = &bucket->slots[at].head;

		if (*head == FLOW_FREE &&
		    __sync_val_compare_and_swap(head, FLOW_FREE, FLOW_CLAIM) == FLOW_FREE) {
			*place = at;
			return 1;
		}
	}
	return 0;
}

/* The digest of a key, and where in the table its search begins. */
static __always_inline __u32 digest_key(const struct flow_key *key, __u8 family, __u32 meta,
					__u64 *digest)
{
	__u64 sum;

	if (family == 4) {
		digest[0] = key->source[0] << 32 | key->destination[0];
		digest[1] = key->ports;
		sum = half_product(digest[0], HASH_KEY_0, HASH_KEY_1) +
		      half_product(digest[1] | (__u64)meta << 32, HASH_KEY_2, HASH_KEY_3);
	} else {
		digest[0] = half_product(key->source[0], HASH_KEY_0, HASH_KEY_1) +
			    half_product(key->source[1], HASH_KEY_2, HASH_KEY_3) +
			    half_product(key->destination[0], HASH_KEY_4, HASH_KEY_5) +
			    half_product(key->destination[1], HASH_KEY_7, HASH_KEY_8) +
			    half_product(key->ports, HASH_KEY_9, HASH_KEY_10);
		digest[1] = half_product(key->source[0], HASH_KEY_2, HASH_KEY_3) +
			    half_product(key->source[1], HASH_KEY_4, HASH_KEY_5) +
			    half_product(key->destination[0], HASH_KEY_7, HASH_KEY_8) +
			    half_product(key->destination[1], HASH_KEY_9, HASH_KEY_10) +
			    half_product(key->ports, HASH_KEY_11, HASH_KEY_12);
		sum = digest[0] + meta;
	}
	sum ^= sum >> 32;
	return sum * HASH_KEY_6 >> (64 - FLOW_SLOTS_LOG2);
}

static __always_inline int replace_word(__u64 *head, __u64 old, __u64 new)
{
	return old != new &&__sync_val_compare_and_swap(head, old, new) == old;
}

static __always_inline void announce(__u32 type, __u64 head, const struct flow_key *key,
				     const struct direction_counts *counts,
				     struct device_totals *cell)
{
	struct flow_entry flow = {
		.head = head, .key = *key, .packets = counts->packets, .bytes = counts->bytes};

	send_event(type, &flow, cell);
}

static __always_inline int count_here(const struct packet *packet, struct wire_counts wire,
				      __u64 device_slot, const __u64 direction,
				      struct device_totals *cell)
{
	__u64 head = head_of(packet, device_slot, FLOW_INGRESS);
	struct flow_key key = ingress_key(packet, direction), *whole_key;
	__u8 tcp_flags = packet->tcp_flags;
	struct connection_bucket *bucket;
	struct direction_counts *counts;
	__u32 start, bucket_index, place = 0, slot;
	struct connection *entry;
	__u64 digest[2], old;

	start = digest_key(&key, packet->family, packet->protocol | device_slot << 16, digest);
	bucket_index = start / FLOW_BUCKET_SLOTS;
	bucket = (struct connection_bucket *)flows.lookup(&bucket_index);
	if (!bucket)
		return 0;
	slot = bucket_index * FLOW_BUCKET_SLOTS;
	if (find_connection(bucket, start, head, digest, FLOW_PROBES, &place)) {
		entry = &bucket->slots[place];
		counts = &entry->counts[direction];
		old = entry->head;
		if (!(tcp_flags & TCP_SYN) || !(old & FLOW_ENDED << FLOW_HEAD_FLAGS)) {
			__sync_fetch_and_add(&counts->packets, wire.packets);
			__sync_fetch_and_add(&counts->bytes, wire.bytes);
			if (tcp_flags & (TCP_FIN | TCP_RST) &&
			    replace_word(&entry->head, old, old | FLOW_ENDED << FLOW_HEAD_FLAGS))
				announce(FLOW_EVENT_END, old, &key, counts, cell);
			return 1;
		}
		replace_word(&entry->head, old, (old & ~FLOW_HEAD_STATE_MASK) | FLOW_SUPERSEDED);
	}
	if (!claim_connection(bucket, start, &place))
		return 0;
	entry = &bucket->slots[place];
	counts = &entry->counts[direction];
	slot += place;
	whole_key = keys.lookup(&slot);
	if (whole_key)
		*whole_key = key;
	entry->digest[0] = digest[0];
	entry->digest[1] = digest[1];
	counts->packets = wire.packets;
	counts->bytes = wire.bytes;
	if (direction == FLOW_INGRESS)
		head |= FLOW_OPENER << FLOW_HEAD_FLAGS;
	__sync_lock_test_and_set(&entry->head, head);
	announce(FLOW_EVENT_NEW, head, &key, counts, cell);
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
	__u64 digest[2];
	__u32 meta = packet->protocol | device_slot << 16, place = 0;
	__u32 start = digest_key(&key, packet->family, meta, digest);
	__u32 bucket_index = start / FLOW_BUCKET_SLOTS;
	struct connection_bucket *bucket = (struct connection_bucket *)flows.lookup(&bucket_index);
	struct direction_counts *counts;

	if (!bucket || !find_connection(bucket, start, head_of(packet, device_slot, FLOW_INGRESS),
					digest, FLOW_FIRST_PROBES, &place))
		return 0;
	counts = &bucket->slots[place].counts[direction];
	__sync_fetch_and_add(&counts->packets, 1);
	__sync_fetch_and_add(&counts->bytes, skb->len);
	return (struct flow_entry *)bucket;
}
