// Keeps the secret of a login for the application, and goes back there.
"use strict";
(() => {
  const config = JSON.parse(document.getElementById("config").textContent);
  if (config.setCredentialToken) {
    const key = config.storagePrefix + config.credentialToken;
    // Older clients look into the one, newer ones into the other.
    for (const storage of ["localStorage", "sessionStorage"]) {
      try {
        window[storage].setItem(key, config.credentialSecret);
      } catch {
        // Going back matters more.
      }
    }
  }
  location.replace(config.redirectUrl);
})();
