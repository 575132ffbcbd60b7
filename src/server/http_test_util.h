// For tests of the server: certificates made in process, and a blocking client that sends exactly the bytes
// it is told.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "server/http_server.h"

namespace hadal::testing_http {

using namespace std::chrono_literals;

/// A key and a certificate in PEM.
struct Credential {
  std::string certificate, key;
};

struct CertificateSpec {
  std::string name = "localhost";
  std::string san = "DNS:localhost,IP:127.0.0.1";
  bool ca = false;
  long not_before_s = -3600, not_after_s = 3600;  // relative to now
};

inline std::string PemOf(const std::function<int(BIO*)>& write) {
  BIO* bio = BIO_new(BIO_s_mem());
  write(bio);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

inline void AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

/// A P-256 certificate signed by `issuer`, or by itself if null.
inline Credential MakeCertificate(const CertificateSpec& spec, const Credential* issuer = nullptr) {
  static std::atomic<long> serial{1};
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate), spec.not_before_s);
  X509_gmtime_adj(X509_getm_notAfter(certificate), spec.not_after_s);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(spec.name.c_str()), -1, -1, 0);
  X509_set_pubkey(certificate, key);
  X509* signer = certificate;
  EVP_PKEY* signer_key = key;
  if (issuer) {
    BIO* bio = BIO_new_mem_buf(issuer->certificate.data(), static_cast<int>(issuer->certificate.size()));
    signer = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(issuer->key.data(), static_cast<int>(issuer->key.size()));
    signer_key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
  }
  X509_set_issuer_name(certificate, X509_get_subject_name(signer));
  AddExtension(certificate, signer, NID_basic_constraints,
               spec.ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (spec.ca) AddExtension(certificate, signer, NID_key_usage, "critical,keyCertSign,cRLSign");
  if (!spec.ca && !spec.san.empty())
    AddExtension(certificate, signer, NID_subject_alt_name, spec.san.c_str());
  X509_sign(certificate, signer_key, EVP_sha256());
  Credential made;
  made.certificate = PemOf([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
  made.key = PemOf(
      [&](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr); });
  if (issuer) {
    X509_free(signer);
    EVP_PKEY_free(signer_key);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return made;
}

/// A folder with ca.crt, server.crt, server.key; gone with the object.
class TestPki {
 public:
  TestPki() {
    static std::atomic<int> next{0};
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("hadal_pki_" + std::to_string(getpid()) + "_" + std::to_string(next++));
    std::filesystem::create_directories(folder_);
    ca_ = MakeCertificate({.name = "test CA", .san = "", .ca = true});
    Put("ca.crt", ca_.certificate);
    Install(Issue({}));
  }
  ~TestPki() { std::filesystem::remove_all(folder_); }
  TestPki(const TestPki&) = delete;
  TestPki& operator=(const TestPki&) = delete;

  Credential Issue(const CertificateSpec& spec) const { return MakeCertificate(spec, &ca_); }
  void Install(const Credential& server) const {
    Put("server.crt", server.certificate);
    Put("server.key", server.key);
  }
  void Put(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  Path File(const std::string& name) const { return folder_ / name; }
  TlsOptions Tls() const { return {.certificate_file = File("server.crt"), .key_file = File("server.key")}; }

 private:
  std::filesystem::path folder_;
  Credential ca_;
};

/// A response as the client read it. status 0: the connection ended before one came.
struct Reply {
  int status = 0;
  std::string head, body;  // body with chunks decoded
  bool complete = false;   // its length, or its last chunk, was reached

  std::string Header(const std::string& lower_name) const {
    const size_t at = head.find("\r\n" + lower_name + ": ");
    if (at == std::string::npos) return "";
    const size_t from = at + lower_name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
};

struct ClientOptions {
  bool plain = false;
  int max_version = 0;           // OpenSSL's constant; 0: no limit
  std::string server_name = {};  // SNI
  const Credential* certificate = nullptr;
  Path trust = {};  // verify the server with this CA; empty: not
  std::chrono::milliseconds timeout{5000};
  int receive_buffer = 0;
};

class Client {
 public:
  explicit Client(int port, ClientOptions options = {}) {
    // OpenSSL writes to a closed connection here; only this thread forgoes the signal, the server must not
    // need it.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (options.receive_buffer) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof options.receive_buffer);
    }
    const auto ms = options.timeout.count();
    timeval limit{ms / 1000, (ms % 1000) * 1000};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (!connected_ || options.plain) return;
    StartTls(options);
  }
  ~Client() { Close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  int fd() const { return fd_; }
  SSL* ssl() const { return ssl_; }
  std::string PeerCommonName() const {
    char name[256] = {};
    X509* certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate)
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    return name;
  }

  /// In hexadecimal digits; "" without a certificate.
  std::string PeerSerial() const {
    X509* certificate = SSL_get0_peer_certificate(ssl_);
    if (certificate == nullptr) return "";
    BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
    char* digits = BN_bn2hex(number);
    const std::string serial = digits;
    OPENSSL_free(digits);
    BN_free(number);
    return serial;
  }

  void Close() {
    if (ssl_) SSL_free(ssl_);
    if (context_) SSL_CTX_free(context_);
    if (fd_ >= 0) ::close(fd_);
    ssl_ = nullptr;
    context_ = nullptr;
    fd_ = -1;
  }

  /// False once the server has closed (or a send timed out).
  bool Send(std::string_view bytes) {
    ERR_clear_error();
    while (!bytes.empty()) {
      const int n = ssl_ ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                         : static_cast<int>(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void HalfClose() {
    if (ssl_) SSL_shutdown(ssl_);
    ::shutdown(fd_, SHUT_WR);
  }

  /// Reads until `buffer` holds more; false at the end, on an error or a timeout (timed_out()).
  bool Fill() {
    char bytes[16384];
    ERR_clear_error();
    errno = 0;
    const int n =
        ssl_ ? SSL_read(ssl_, bytes, sizeof bytes) : static_cast<int>(::recv(fd_, bytes, sizeof bytes, 0));
    if (n <= 0) {
      timed_out_ = errno == EAGAIN || errno == EWOULDBLOCK;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(n));
    return true;
  }
  bool timed_out() const { return timed_out_; }
  bool ReadUntil(std::string_view mark) {
    while (buffer_.find(mark) == std::string::npos) {
      if (!Fill()) return false;
    }
    return true;
  }
  const std::string& buffer() const { return buffer_; }
  /// True once the server has closed the connection, within the timeout.
  bool WaitClosed() {
    while (Fill()) {
    }
    return !timed_out_;
  }

  Reply ReadReply(bool head_only = false) {
    Reply reply;
    if (!ReadUntil("\r\n\r\n")) return reply;
    const size_t end = buffer_.find("\r\n\r\n") + 4;
    reply.head = buffer_.substr(0, end);
    buffer_.erase(0, end);
    std::sscanf(reply.head.c_str(), "HTTP/1.1 %d", &reply.status);
    if (head_only || reply.status == 204 || reply.status < 200) {
      reply.complete = true;
    } else if (reply.Header("transfer-encoding") == "chunked") {
      ReadChunks(reply);
    } else if (const auto length = reply.Header("content-length"); !length.empty()) {
      const size_t want = std::stoul(length);
      while (buffer_.size() < want && Fill()) {
      }
      reply.complete = buffer_.size() >= want;
      reply.body = buffer_.substr(0, want);
      buffer_.erase(0, want);
    } else {
      while (Fill()) {
      }
      reply.body = std::exchange(buffer_, "");
      reply.complete = !timed_out_;
    }
    return reply;
  }

  Reply Ask(std::string_view request) {
    Send(request);
    return ReadReply();
  }

 private:
  void StartTls(const ClientOptions& options) {
    context_ = SSL_CTX_new(TLS_client_method());
    if (options.max_version) SSL_CTX_set_max_proto_version(context_, options.max_version);
    if (!options.trust.empty()) {
      SSL_CTX_load_verify_file(context_, options.trust.c_str());
      SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    }
    if (options.certificate) {
      BIO* bio = BIO_new_mem_buf(options.certificate->certificate.data(),
                                 static_cast<int>(options.certificate->certificate.size()));
      X509* x509 = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
      BIO_free(bio);
      bio =
          BIO_new_mem_buf(options.certificate->key.data(), static_cast<int>(options.certificate->key.size()));
      EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
      BIO_free(bio);
      SSL_CTX_use_certificate(context_, x509);
      SSL_CTX_use_PrivateKey(context_, key);
      X509_free(x509);
      EVP_PKEY_free(key);
    }
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_);
    if (!options.server_name.empty()) SSL_set_tlsext_host_name(ssl_, options.server_name.c_str());
    ERR_clear_error();
    connected_ = SSL_connect(ssl_) == 1;
  }

  void ReadChunks(Reply& reply) {
    for (;;) {
      if (!ReadUntil("\r\n")) return;
      const size_t size = std::stoul(buffer_, nullptr, 16);
      const size_t start = buffer_.find("\r\n") + 2;
      while (buffer_.size() < start + size + 2) {
        if (!Fill()) return;
      }
      reply.body += buffer_.substr(start, size);
      buffer_.erase(0, start + size + 2);
      if (size == 0) {
        reply.complete = true;
        return;
      }
    }
  }

  int fd_ = -1;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
  std::string buffer_;
  bool connected_ = false, timed_out_ = false;
};

/// True as soon as `condition` holds; false if it does not within `limit`.
template <typename Condition>
bool Eventually(Condition condition, std::chrono::milliseconds limit = 5s) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

inline std::string Get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
}
inline std::string Post(const std::string& path, const std::string& body, const std::string& more = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + more +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

}  // namespace hadal::testing_http
