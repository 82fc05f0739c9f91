/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SQL_CATALOG_H
#define WEIR_CONNECT_SQL_CATALOG_H

#include "connect/sql/sql.h"

/* What a database's catalogue says of a table, for table.c, which learns it. s->table.from is the table, quoted. */

/* A table's name in its pieces: the last is the table, the one before it the schema. */
struct sql_name {
	struct slice parts[3];
	uint32_t count;
};

/* The columns of the primary key in their order, into the source's arena. 0, also where there is none; ERR_* with *why. */
int sql_catalog_key(struct sql_source *s, struct sql_session *session, const struct sql_name *n,
		    struct conf_list *key, struct sql_failure *why);

/* What rows and server tell of transactions: has_xid, tells_durable and lockable of the table. 0, ERR_* with *why. */
int sql_catalog_writers(struct sql_source *s, struct sql_session *session, struct sql_failure *why);

/* Warns where the cursor's first column, which is learned, begins no index. 0, ERR_* with *why. */
int sql_catalog_index(struct sql_source *s, struct sql_session *session, const struct sql_name *n,
		      struct sql_failure *why);

#endif
