/* SPDX-License-Identifier: GPL-2.0 */
/* In the place of the flow table: no table. Parsing and totals alone; every packet is overflow. */
static __always_inline int count_here(const struct packet *packet, struct wire_counts wire,
				      __u64 device_slot, const __u32 direction,
				      struct device_totals *cell)
{
	return 0;
}

/* Without payload inspection nobody looks behind the pointer: it says whether there was room. */
static __always_inline struct flow_entry *count_flow(const struct packet *packet,
						     struct wire_counts wire, __u64 device_slot,
						     const __u32 direction,
						     struct device_totals *cell, __u32 *slot)
{
	return (struct flow_entry *)(long)count_here(packet, wire, device_slot, direction, cell);
}
