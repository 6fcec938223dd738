// Hands the secret of a login to the window that began it, and closes this one.
"use strict";
(() => {
  const config = JSON.parse(document.getElementById("config").textContent);
  const { credentialToken, credentialSecret, isCordova, setCredentialToken, storagePrefix } = config;

  const handToOpener = () => {
    try {
      window.opener.Package.oauth.OAuth._handleCredentialSecret(credentialToken, credentialSecret);
      return true;
    } catch {
      // There is no such window, or it belongs to another site.
      return false;
    }
  };

  if (setCredentialToken) {
    if (isCordova) {
      // The application reads the address of its browser.
      location.hash = JSON.stringify({ credentialToken, credentialSecret });
    }
    if (!handToOpener()) {
      try {
        localStorage.setItem(storagePrefix + credentialToken, credentialSecret);
      } catch {
        // The window closes in any case.
      }
    }
  }

  if (!isCordova) {
    document.getElementById("completedText").style.display = "block";
    document.getElementById("loginCompleted").addEventListener("click", () => window.close());
    window.close();
  }
})();
