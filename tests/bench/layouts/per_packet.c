/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In the place of monitor(): an event for each packet, which a reader in user space counts. The parser and the
 * totals are the same; there is no flow table. PacketEvent in tests/bench/harness/event_reader.py is its twin.
 */
struct packet_event {
	__u64 head;
	struct flow_key key;
	__u64 packets;
	__u64 bytes;
};

_Static_assert(sizeof(struct packet_event) == 64, "as event_reader.py has it");

int monitor(struct __sk_buff *skb)
{
	const __u32 direction = direction_of_this_program();
	struct frame frame = frame_of(skb);
	struct device device = find_device(skb->ifindex);
	__u32 index = (device.slot * CPUS + bpf_get_smp_processor_id()) * 2 + direction;
	struct device_totals *cell = (void *)totals.lookup(&index);
	struct packet packet = {};
	struct wire_counts wire;
	struct packet_event *event;

	if (!cell)
		return TC_ACT_UNSPEC;
	parse_packet(&frame, device.link_type, &packet);
	wire = count_wire(skb, &frame, &packet);
	cell->packets += wire.packets;
	cell->bytes += wire.bytes;
	event = flow_events.ringbuf_reserve(sizeof(*event));
	if (!event) {
		cell->dropped_events += wire.packets;
		return TC_ACT_UNSPEC;
	}
	event->head = head_of(&packet, device.slot, direction);
	event->key = packet.key;
	event->packets = wire.packets;
	event->bytes = wire.bytes;
	flow_events.ringbuf_submit(event, 0);
	return TC_ACT_UNSPEC;
}
