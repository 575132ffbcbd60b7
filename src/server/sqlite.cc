#include "server/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace hadal {
namespace {

constexpr int kBusyMilliseconds = 5000;

tl::unexpected<Error> SqliteError(sqlite3* db) {
  const int error = sqlite3_errcode(db) & 0xff;
  const char* text = sqlite3_errmsg(db);
  if (error == SQLITE_BUSY || error == SQLITE_LOCKED)
    return Unavailable("the state database is in use by another process: {}", text);
  if (error == SQLITE_FULL) return ResourceExhausted("the disk of the state database is full: {}", text);
  if (error == SQLITE_CORRUPT || error == SQLITE_NOTADB)
    return DataLoss("the state database is damaged: {}; restore it from a backup", text);
  if (error == SQLITE_READONLY || error == SQLITE_PERM)
    return PermissionDenied("the state database may not be written: {}", text);
  if (error == SQLITE_CONSTRAINT) return FailedPrecondition("the state database refuses a record: {}", text);
  return Unavailable("the state database failed: {}", text);
}

}  // namespace

Query::Query(Query&& other) noexcept
    : db_(other.db_),
      statement_(std::exchange(other.statement_, nullptr)),
      bound_(other.bound_),
      bind_status_(std::move(other.bind_status_)) {}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::Bind(std::string_view text) {
  // An empty view may have a null pointer, which SQLite would take for NULL.
  if (sqlite3_bind_text64(statement_, ++bound_, text.empty() ? "" : text.data(), text.size(),
                          SQLITE_TRANSIENT, SQLITE_UTF8) != SQLITE_OK)
    bind_status_ = SqliteError(db_);
  return *this;
}

Query& Query::BindBlob(std::string_view bytes) {
  if (sqlite3_bind_blob64(statement_, ++bound_, bytes.empty() ? "" : bytes.data(), bytes.size(),
                          SQLITE_TRANSIENT) != SQLITE_OK)
    bind_status_ = SqliteError(db_);
  return *this;
}

Query& Query::Bind(int64_t value) {
  if (sqlite3_bind_int64(statement_, ++bound_, value) != SQLITE_OK) bind_status_ = SqliteError(db_);
  return *this;
}

Result<bool> Query::Step() {
  if (!bind_status_) return tl::unexpected(bind_status_.error());
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(db_);
}

Status Query::Run() {
  if (const Result<bool> row = Step(); !row) return tl::unexpected(row.error());
  return {};
}

int64_t Query::Int(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Query::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), static_cast<size_t>(size));
}

Result<Database> Database::Open(const Path& path) {
  // SQLite gives its log the mode of the database, so the file is made here. A file that is there must not be opened and
  // closed by hand: closing any descriptor of it would drop the locks of this process's other connections, and another
  // process would take itself for the last one and remove the log under them.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno != EEXIST) {
    return MakeError(errno == EACCES ? Code::kPermissionDenied : Code::kUnavailable, "cannot open {}: {}",
                     path.string(), std::strerror(errno));
  }
  if (fd >= 0) close(fd);
  std::error_code ignored;
  if (std::filesystem::is_symlink(path, ignored))
    return PermissionDenied("{} is a symbolic link; the state database must be a file of its own", path.string());
  Database database;
  const int code =
      sqlite3_open_v2(path.c_str(), &database.db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    if (database.db_ != nullptr) return SqliteError(database.db_);
    return ResourceExhausted("memory ran out while {} was opened", path.string());
  }
  sqlite3_busy_timeout(database.db_, kBusyMilliseconds);
  sqlite3_extended_result_codes(database.db_, 1);
  sqlite3_db_config(database.db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  RETURN_IF_ERROR(
      database.Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF; PRAGMA "
                       "secure_delete=ON;"));
  return database;
}

Database::Database(Database&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), statements_(std::move(other.statements_)) {
  other.statements_.clear();
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  if (db_ != nullptr) sqlite3_close(db_);
}

Status Database::Execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return SqliteError(db_);
  return {};
}

Result<Query> Database::Prepare(const char* sql) {
  sqlite3_stmt*& statement = statements_[sql];
  if (statement == nullptr &&
      sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
    return SqliteError(db_);
  return Query(db_, statement);
}

int64_t Database::changes() const { return sqlite3_changes64(db_); }

int64_t Database::last_insert_id() const { return sqlite3_last_insert_rowid(db_); }

Result<Transaction> Transaction::Begin(Database& db) {
  RETURN_IF_ERROR(db.Execute("BEGIN IMMEDIATE"));
  return Transaction(db);
}

Transaction::~Transaction() {
  // A failed rollback means that SQLite has rolled back by itself.
  if (db_ != nullptr) (void)db_->Execute("ROLLBACK");
}

Status Transaction::Commit() {
  RETURN_IF_ERROR(db_->Execute("COMMIT"));
  db_ = nullptr;
  return {};
}

}  // namespace hadal
