// TLS for the server: the certificate and rules (TlsContext, reloadable), and one connection's bytes
// (Transport).
//
// OpenSSL reads and writes the socket itself, without Asio's ssl::stream in between, whose own buffers cost
// an idle connection more than everything else together.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/status.h"

struct ssl_st;      // OpenSSL's SSL
struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace hadal {

enum class ClientCertificates {
  kNone,      // not asked for
  kOptional,  // asked for; one that is sent must be valid
  kRequired,
};

struct TlsOptions {
  Path certificate_file = {};       // PEM: the server's certificate, then intermediates
  Path key_file = {};               // PEM, not encrypted
  std::string min_version = "1.3";  // "1.3" or "1.2"
  ClientCertificates client_certificates = ClientCertificates::kNone;
  Path client_ca_file = {};  // PEM: whom client certificates must come from
};

/// The TLS rules that new connections get. Thread-safe. No session tickets and no 0-RTT: nothing can be
/// replayed, and a client certificate is checked on every connection. One certificate for all names: SNI does
/// not choose.
class TlsContext {
 public:
  /// kInvalidArgument for options that make no sense; kNotFound, kDataLoss or kFailedPrecondition (expired,
  /// not yet valid, the key of another certificate), naming the file.
  static Result<std::unique_ptr<TlsContext>> Load(const TlsOptions& options);

  /// Reads the files again; on an error the old certificate stays in use. Open connections keep theirs.
  Status Reload();

  /// When the certificate in use expires.
  std::chrono::system_clock::time_point not_after() const;

  std::shared_ptr<ssl_ctx_st> current() const;

 private:
  struct Loaded {
    std::shared_ptr<ssl_ctx_st> context;
    std::chrono::system_clock::time_point not_after;
  };
  static Result<Loaded> Read(const TlsOptions& options);
  explicit TlsContext(TlsOptions options) : options_(std::move(options)) {}

  const TlsOptions options_;
  mutable std::mutex mutex_;
  Loaded loaded_;  // guarded by mutex_
};

/// Bytes to and from one non-blocking socket, through TLS or plain. Does not own the socket. Not thread-safe.
class Transport {
 public:
  enum class Outcome {
    kOk,
    kWantRead,   // again when the socket is readable
    kWantWrite,  // again when it is writable
    kEnd,        // the peer has closed
    kFailed,     // reset, bad record, failed handshake
  };
  struct Io {
    Outcome outcome;
    size_t bytes = 0;
  };

  /// A server's end of `fd`; plain if `context` is null.
  Transport(int fd, const TlsContext* context);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  Outcome Handshake();
  Io Read(std::span<char> into);
  /// Writes a part of `from`. After kWant*, the next call's bytes must begin with the same ones.
  Io Write(std::string_view from);
  /// Says that no more will be written (close_notify, then FIN); best effort.
  void ShutdownWrite();

  bool tls() const { return ssl_ != nullptr; }
  /// RFC 2253 subject of the verified client certificate; empty without one. After the handshake.
  std::string ClientSubject() const;
  /// The name that the client asked for (SNI), lower case; empty without one. After the handshake.
  std::string ServerName() const;

 private:
  Io Outcomes(int result, size_t bytes);

  int fd_;
  ssl_st* ssl_ = nullptr;
};

}  // namespace hadal
