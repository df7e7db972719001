/* SPDX-License-Identifier: GPL-2.0 */
/* BCC asks for these; no code here depends on the kernel's version at compile time. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
