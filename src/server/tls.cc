#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cerrno>
#include <ctime>

namespace hadal {
namespace {

/// OpenSSL's newest error of this thread in words; the queue is left empty.
std::string TakeError() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  return reason ? reason : "unknown TLS error";
}

// A socket BIO that never raises SIGPIPE: OpenSSL's own uses write(), and a library must not change the
// process's signal handling. The descriptor travels in the BIO's data pointer.
int BioFd(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(BioFd(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int BioRead(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(BioFd(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long BioControl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
  return 0;
}

/// Made once and never freed: OpenSSL wants BIO methods to outlive every BIO.
const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "hadal socket");
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_ctrl(made, BioControl);
    return made;
  }();
  return method;
}

/// Only HTTP/1.1 is offered; a client that speaks something else only is refused in the handshake.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                   unsigned in_size, void*) {
  static constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp11, sizeof kHttp11, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

void SetRules(SSL_CTX* context) {
  // Received plaintext is overwritten once it is read: it holds passwords and tokens.
  SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_max_early_data(context, 0);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);  // one system call a record instead of two
  SSL_CTX_set_alpn_select_cb(context, SelectProtocol, nullptr);
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");  // TLS 1.2, where allowed
  // No terminal prompt for the password of an encrypted key: it is refused like any key that cannot be read.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
}

Status LoadCertificate(SSL_CTX* context, const TlsOptions& options) {
  const auto& certificate = options.certificate_file;
  const auto& key = options.key_file;
  if (!std::filesystem::exists(certificate))
    return NotFound("{}: no such certificate file", certificate.string());
  if (!std::filesystem::exists(key)) return NotFound("{}: no such key file", key.string());
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return DataLoss("{}: not a PEM certificate chain that TLS can use ({})", certificate.string(),
                    TakeError());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return DataLoss("{}: not an unencrypted PEM private key of {} ({})", key.string(), certificate.string(),
                    TakeError());
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    TakeError();
    return FailedPrecondition("{}: is the key of another certificate than {}", key.string(),
                              certificate.string());
  }
  const X509* x509 = SSL_CTX_get0_certificate(context);
  if (X509_cmp_current_time(X509_get0_notBefore(x509)) >= 0) {
    return FailedPrecondition("{}: the certificate is not valid yet; check the machine's clock",
                              certificate.string());
  }
  if (X509_cmp_current_time(X509_get0_notAfter(x509)) <= 0) {
    return FailedPrecondition("{}: the certificate has expired; issue a new one", certificate.string());
  }
  return {};
}

Status LoadClientRules(SSL_CTX* context, const TlsOptions& options) {
  if (options.client_certificates == ClientCertificates::kNone) return {};
  const auto& ca = options.client_ca_file;
  if (ca.empty())
    return InvalidArgument("client certificates are asked for, and no CA file for them is given");
  if (!std::filesystem::exists(ca)) return NotFound("{}: no such CA file", ca.string());
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(ca.c_str());
  if (!names || SSL_CTX_load_verify_file(context, ca.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return DataLoss("{}: holds no PEM certificates of a CA ({})", ca.string(), TakeError());
  }
  SSL_CTX_set_client_CA_list(context, names);
  int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;
  if (options.client_certificates == ClientCertificates::kRequired) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  SSL_CTX_set_verify(context, mode, nullptr);
  SSL_CTX_set_verify_depth(context, 4);
  return {};
}

}  // namespace

Result<TlsContext::Loaded> TlsContext::Read(const TlsOptions& options) {
  int version = 0;
  if (options.min_version == "1.3") version = TLS1_3_VERSION;
  if (options.min_version == "1.2") version = TLS1_2_VERSION;
  if (version == 0)
    return InvalidArgument("minimum TLS version is '{}', expected 1.3 or 1.2", options.min_version);
  ERR_clear_error();
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) return Internal("OpenSSL gives no TLS context: {}", TakeError());
  SSL_CTX_set_min_proto_version(context.get(), version);
  SetRules(context.get());
  RETURN_IF_ERROR(LoadCertificate(context.get(), options));
  RETURN_IF_ERROR(LoadClientRules(context.get(), options));
  std::tm tm{};
  ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context.get())), &tm);
  return Loaded{std::move(context), std::chrono::system_clock::from_time_t(timegm(&tm))};
}

Result<std::unique_ptr<TlsContext>> TlsContext::Load(const TlsOptions& options) {
  std::unique_ptr<TlsContext> made(new TlsContext(options));
  RETURN_IF_ERROR(made->Reload());
  return made;
}

Status TlsContext::Reload() {
  ASSIGN_OR_RETURN(Loaded loaded, Read(options_));
  std::lock_guard lock(mutex_);
  loaded_ = std::move(loaded);
  return {};
}

std::chrono::system_clock::time_point TlsContext::not_after() const {
  std::lock_guard lock(mutex_);
  return loaded_.not_after;
}

std::shared_ptr<ssl_ctx_st> TlsContext::current() const {
  std::lock_guard lock(mutex_);
  return loaded_.context;
}

Transport::Transport(int fd, const TlsContext* context) : fd_(fd) {
  if (!context) return;
  ssl_ = SSL_new(context->current().get());
  BIO* bio = ssl_ ? BIO_new(SocketMethod()) : nullptr;
  if (!bio) {
    SSL_free(ssl_);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_accept_state(ssl_);
}

Transport::~Transport() { SSL_free(ssl_); }

Transport::Io Transport::Outcomes(int result, size_t bytes) {
  if (result > 0) return {Outcome::kOk, bytes};
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ: return {Outcome::kWantRead};
    case SSL_ERROR_WANT_WRITE: return {Outcome::kWantWrite};
    case SSL_ERROR_ZERO_RETURN: return {Outcome::kEnd};
    default: ERR_clear_error(); return {Outcome::kFailed};
  }
}

Transport::Outcome Transport::Handshake() {
  if (!ssl_) return Outcome::kOk;
  ERR_clear_error();
  return Outcomes(SSL_accept(ssl_), 0).outcome;
}

Transport::Io Transport::Read(std::span<char> into) {
  if (ssl_) {
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_read_ex(ssl_, into.data(), into.size(), &n);
    return Outcomes(result, n);
  }
  const ssize_t n = ::recv(fd_, into.data(), into.size(), 0);
  if (n > 0) return {Outcome::kOk, static_cast<size_t>(n)};
  if (n == 0) return {Outcome::kEnd};
  return {errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? Outcome::kWantRead : Outcome::kFailed};
}

Transport::Io Transport::Write(std::string_view from) {
  if (ssl_) {
    ERR_clear_error();
    size_t n = 0;
    const int result = SSL_write_ex(ssl_, from.data(), from.size(), &n);
    return Outcomes(result, n);
  }
  const ssize_t n = ::send(fd_, from.data(), from.size(), MSG_NOSIGNAL);
  if (n >= 0) return {Outcome::kOk, static_cast<size_t>(n)};
  return {errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? Outcome::kWantWrite : Outcome::kFailed};
}

void Transport::ShutdownWrite() {
  if (ssl_ && SSL_is_init_finished(ssl_)) {
    ERR_clear_error();
    SSL_shutdown(ssl_);
    ERR_clear_error();
  }
  ::shutdown(fd_, SHUT_WR);
}

std::string Transport::ClientSubject() const {
  if (!ssl_) return "";
  const X509* certificate = SSL_get0_peer_certificate(ssl_);
  if (!certificate || SSL_get_verify_result(ssl_) != X509_V_OK) return "";
  BIO* text = BIO_new(BIO_s_mem());
  if (!text) return "";
  X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(text, &data);
  std::string subject(data, size > 0 ? static_cast<size_t>(size) : 0);
  BIO_free(text);
  return subject;
}

std::string Transport::ServerName() const {
  const char* name = ssl_ ? SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name) : nullptr;
  std::string lower(name ? name : "");
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  }
  return lower;
}

}  // namespace hadal
