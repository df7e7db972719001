/* SPDX-License-Identifier: GPL-2.0 */
/* PAGE_SIZE is the running kernel's, given by the loader with -D. */
