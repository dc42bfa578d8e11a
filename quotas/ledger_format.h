// The tables of the ledger's file, and how an older file comes to have them. Not for other folders.
#pragma once

#include <string>

#include "quotas/database.h"

namespace holm::quotas {

// Makes or brings up to date what is in the file. Throws for one that a newer Holm made, or another program.
void prepare_ledger(Database& database, const std::string& path);
// False where nothing has been written yet; throws as above.
bool is_ledger(const Database& database, const std::string& path);

// "uptime_ns, cpu_ns, ...": the sums' columns, each between `before` and `after`, where % is its name.
std::string usage_columns(const std::string& pattern = "%", const std::string& separator = ", ");

// What adds a row of usage to the one that is there.
std::string usage_upsert();

}  // namespace holm::quotas
