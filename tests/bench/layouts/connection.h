/* SPDX-License-Identifier: GPL-2.0 */
/* What layouts have in common that keep both directions of a connection in one entry. */
#ifndef AYAFLOW_LAYOUTS_CONNECTION_H
#define AYAFLOW_LAYOUTS_CONNECTION_H

#include "flow_table.h"

/* The key as an ingress packet shows it. */
static __always_inline struct flow_key ingress_key(const struct packet *packet,
						   const __u64 direction)
{
	struct flow_key key = packet->key;

	if (direction == FLOW_EGRESS) {
		asm volatile(""); /* as in hash_connection() */
		key.source[0] = packet->key.destination[0];
		key.source[1] = packet->key.destination[1];
		key.destination[0] = packet->key.source[0];
		key.destination[1] = packet->key.source[1];
		key.ports = packet->key.ports << 16 | packet->key.ports >> 16;
	}
	return key;
}

#endif
