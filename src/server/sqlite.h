// SQLite behind Result: one connection, statements prepared once, parameters always bound.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hadal {

/// A run of a prepared statement: binds in order of the question marks, then steps. When it goes, the
/// statement is reset and its parameters forgotten.
class Query {
 public:
  Query(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  Query(Query&& other) noexcept;
  Query& operator=(Query&&) = delete;
  ~Query();

  Query& Bind(std::string_view text);
  Query& Bind(int64_t value);
  Query& BindBlob(std::string_view bytes);

  /// True: there is a row; false: no (more) rows. kUnavailable while another process holds the database too
  /// long, kResourceExhausted on a full disk, kDataLoss if the file is damaged.
  Result<bool> Step();
  /// Steps a statement that gives no rows.
  Status Run();

  int64_t Int(int column) const;
  std::string Text(int column) const;  // of texts and blobs

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  int bound_ = 0;
  Status bind_status_;
};

/// Not thread-safe: one thread, or a lock around it.
class Database {
 public:
  /// Opens or makes the file (mode 0600) with a write-ahead log; every commit is on the disk when it returns.
  static Result<Database> Open(const Path& path);
  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;
  ~Database();

  /// Runs statements without parameters or rows.
  Status Execute(const char* sql);
  /// `sql` must be a literal: prepared statements are kept by its address.
  Result<Query> Prepare(const char* sql);
  /// Rows that the last statement changed.
  int64_t changes() const;
  /// The row id of the last record inserted.
  int64_t last_insert_id() const;

 private:
  Database() = default;
  sqlite3* db_ = nullptr;
  std::map<const char*, sqlite3_stmt*> statements_;
};

/// A transaction: rolled back unless Commit is reached.
class Transaction {
 public:
  static Result<Transaction> Begin(Database& db);
  Transaction(Transaction&& other) noexcept : db_(other.db_) { other.db_ = nullptr; }
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status Commit();

 private:
  explicit Transaction(Database& db) : db_(&db) {}
  Database* db_;
};

}  // namespace hadal
