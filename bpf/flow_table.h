/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the entry of a flow is searched for, found and made. Touches no map: bcc lets nobody do that
 * outside of the file that it compiles. What changes where a search begins or goes on is another
 * RECORD_LAYOUT_VERSION.
 *
 * The loader defines FLOW_SLOTS_LOG2 and the secret HASH_KEY_0 .. HASH_KEY_12.
 */
#ifndef AYAFLOW_FLOW_TABLE_H
#define AYAFLOW_FLOW_TABLE_H

#include "parsing.h"

/*
 * Of two words of 32 bits. RFC 4418 cuts the sums to 32 bits, but need not: with one key given, two
 * pairs of words differ by some amount for one value of the other key at most.
 */
static __always_inline __u64 product(__u32 a, __s32 key_a, __u32 b, __s32 key_b)
{
	return ((__u64)a + key_a) * ((__u64)b + key_b);
}

static __always_inline __u64 half_product(__u64 word, __s32 key_a, __s32 key_b)
{
	return product(word, key_a, word >> 32, key_b);
}

/*
 * The same for both directions of a connection: the local endpoint comes first, which is the
 * destination of what comes in and the source of what goes out. NH, the universal hash of UMAC
 * (RFC 4418, 5.2.2), under a secret key, then multiply-shift: nobody who does not know the key can
 * choose flows that collide more often than by chance. Both are linear, so the halves are mixed
 * between them, or consecutive ports of one client would fall into few buckets. Of IPv6 addresses NH
 * makes 64 bits first.
 */
static __always_inline __u64 hash_connection(const struct packet *packet, __u64 device_slot,
					     const __u64 direction)
{
	__u64 source = packet->key.source[0], destination = packet->key.destination[0];
	__u64 local, remote, sum;
	__u32 ports = packet->key.ports;

	if (packet->family == 6) {
		source = half_product(source, HASH_KEY_7, HASH_KEY_8) +
			 half_product(packet->key.source[1], HASH_KEY_9, HASH_KEY_10);
		destination = half_product(destination, HASH_KEY_7, HASH_KEY_8) +
			      half_product(packet->key.destination[1], HASH_KEY_9, HASH_KEY_10);
	}
	local = direction == FLOW_INGRESS ? destination : source;
	remote = direction == FLOW_INGRESS ? source : destination;
	if (direction == FLOW_EGRESS) {
		asm volatile(""); /* or the compiler does it in both directions, and then chooses */
		ports = ports << 16 | ports >> 16;
	}
	sum = product(local, HASH_KEY_0, remote, HASH_KEY_1) +
	      product(ports, HASH_KEY_2, packet->protocol | device_slot << 16, HASH_KEY_3);
	if (packet->family == 6)
		sum += product(local >> 32, HASH_KEY_4, remote >> 32, HASH_KEY_5);
	sum ^= sum >> 32;
	return sum * HASH_KEY_6 >> (65 - FLOW_SLOTS_LOG2);
}

/* Whether a place is one of the few that are kept: see claim_slot(). */
static __always_inline int is_kept(__u32 slot)
{
	return slot / 2 % FLOW_KEPT_EVERY == 0;
}

/*
 * Where the search for a flow begins: in a pair of slots, neighbouring lines, for the two directions of a
 * connection. Most searches would go past a pair that is kept; so none begins there.
 */
static __always_inline __u64 first_slot(const struct packet *packet, __u64 device_slot,
					const __u64 direction)
{
	__u64 pair = hash_connection(packet, device_slot, direction);
	/* 1 for 0: of a branch the verifier would walk both ways. */
	__u64 past = (pair % FLOW_KEPT_EVERY - 1) >> 63;

	return (pair + past) * 2 | direction;
}

/*
 * Finds the live entry of a key in the first *probes* slots of the window that begins at *start*, and
 * its place in the bucket. *words*: of an address, what is compared; 1 is enough for IPv4. The verifier
 * follows each value that a constant takes, so a place is never a constant: start + i.
 */
static __always_inline struct flow_entry *find_flow(struct flow_bucket *bucket, __u32 start,
						    __u64 head, struct flow_key key,
						    const int words, const int probes, __u32 *place)
{
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < probes; i++) {
		__u32 at = (start + i) % FLOW_BUCKET_SLOTS;
		struct flow_entry *flow = &bucket->slots[at];

		asm volatile("" : "+r"(flow)); /* or its address is made anew for each comparison */
		if ((flow->head & ~FLOW_HEAD_FLAGS_MASK) == head &&
		    flow->key.source[0] == key.source[0] &&
		    flow->key.destination[0] == key.destination[0] &&
		    flow->key.ports == key.ports &&
		    (words == 1 || (flow->key.source[1] == key.source[1] &&
				    flow->key.destination[1] == key.destination[1]))) {
			*place = at;
			return flow;
		}
	}
	return 0;
}

/*
 * Some places are kept for what looks like TCP connections that have come about, or are older than the
 * exporter: neither SYN nor FIN nor RST. So a flood of SYNs, or of UDP, leaves room for them in every
 * window.
 */
static __always_inline int claim_slot(struct flow_bucket *bucket, __u32 start,
				      const struct packet *packet, __u32 *place)
{
	int has_come_about = packet->protocol == PROTOCOL_TCP &&
			     !(packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
	__u64 i;

#pragma clang loop unroll(disable)
	for (i = 0; i < FLOW_PROBES; i++) {
		__u32 at = (start + i) % FLOW_BUCKET_SLOTS;
		struct flow_entry *flow = &bucket->slots[at];

		if (is_kept(at) && !has_come_about)
			continue;
		if (flow->head == FLOW_FREE &&
		    __sync_val_compare_and_swap(&flow->head, FLOW_FREE, FLOW_CLAIM) == FLOW_FREE) {
			*place = at;
			return 1;
		}
	}
	return 0;
}

/* Fails, and need not succeed, where another CPU was first or the exporter is closing the entry. */
static __always_inline int replace_head(struct flow_entry *flow, __u64 old, __u64 new)
{
	if (old == new)
		return 0;
	return __sync_val_compare_and_swap(&flow->head, old, new) == old;
}

static __always_inline __u64 head_of(const struct packet *packet, __u64 device_slot,
				     const __u64 direction)
{
	return FLOW_LIVE | (__u64)packet->protocol << FLOW_HEAD_PROTOCOL |
	       (__u64)packet->family << FLOW_HEAD_FAMILY | direction << FLOW_HEAD_DIRECTION |
	       device_slot << FLOW_HEAD_DEVICE;
}

#endif
