package identity;

import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput;
import com.hivemq.extension.sdk.api.auth.parameter.TopicPermission;
import com.hivemq.extension.sdk.api.auth.parameter.TopicPermission.MqttActivity;
import com.hivemq.extension.sdk.api.client.parameter.ClientTlsInformation;
import com.hivemq.extension.sdk.api.packets.auth.DefaultAuthorizationBehaviour;
import com.hivemq.extension.sdk.api.packets.auth.ModifiableDefaultPermissions;
import com.hivemq.extension.sdk.api.packets.connect.ConnackReasonCode;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import com.hivemq.extension.sdk.api.services.builder.Builders;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateFactory;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.stream.Collectors;
import javax.naming.ldap.LdapName;

/**
 * Whose a connection is: the CN of its certificate, and nothing that the client says of itself.
 *
 * <p>A gateway's client id must be its CN, or one gateway would receive and acknowledge another's requests. The RTCC
 * runs several programs under one CN, on a listener of its own. Topics are those of docs/rtcc.md. A certificate on the
 * list of revoked ones is refused; the list is read at every connection, so that nothing has to be reloaded.
 *
 * <p>{@code -Drtcc.revoked=FILE} names the list (PEM), {@code -Drtcc.listener=NAME} the RTCC's listener. Without
 * either, nobody is let in. After a roll-over the file holds a list for each authority: all of them count.
 */
public final class Identity implements ExtensionMain, SimpleAuthenticator {
    private static final String RTCC = "rtcc";

    @Override
    public void extensionStart(final ExtensionStartInput input, final ExtensionStartOutput output) {
        if (System.getProperty("rtcc.revoked") == null || System.getProperty("rtcc.listener") == null) {
            output.preventExtensionStartup("rtcc.revoked and rtcc.listener are needed");
            return;
        }
        Services.securityRegistry().setAuthenticatorProvider(ignored -> this);
    }

    @Override
    public void extensionStop(final ExtensionStopInput input, final ExtensionStopOutput output) {}

    @Override
    public void onConnect(final SimpleAuthInput input, final SimpleAuthOutput output) {
        try {
            final String name = findName(input);
            if (name == null) {
                output.failAuthentication(ConnackReasonCode.NOT_AUTHORIZED, "certificate and connection do not agree");
                return;
            }
            allow(output.getDefaultPermissions(), name);
            output.authenticateSuccessfully();
        } catch (final Exception error) {
            output.failAuthentication(ConnackReasonCode.SERVER_UNAVAILABLE, "identity cannot be read");
        }
    }

    /** Returns the CN if it may connect here under this client id; null otherwise. */
    private static String findName(final SimpleAuthInput input) throws Exception {
        final var connection = input.getConnectionInformation();
        final X509Certificate shown =
                connection.getClientTlsInformation().flatMap(ClientTlsInformation::getClientCertificate).orElse(null);
        if (shown == null || isRevoked(shown)) {
            return null;
        }
        final List<String> names = new LdapName(shown.getSubjectX500Principal().getName()).getRdns().stream()
                .filter(each -> each.getType().equalsIgnoreCase("CN"))
                .map(each -> each.getValue().toString())
                .collect(Collectors.toList());
        if (names.size() != 1) {
            return null;
        }
        final String name = names.get(0);
        final String listener = connection.getListener().map(each -> each.getName()).orElse("");
        if (listener.equals(System.getProperty("rtcc.listener"))) {
            return name.equals(RTCC) ? name : null;
        }
        final boolean isGateway = name.matches("[A-Za-z0-9_-]{22}");
        return isGateway && name.equals(input.getClientInformation().getClientId()) ? name : null;
    }

    /** Tells whether a certificate is revoked, or its authority has no list in the file: there is one for each. */
    private static boolean isRevoked(final X509Certificate shown) throws Exception {
        try (InputStream file = Files.newInputStream(Path.of(System.getProperty("rtcc.revoked")))) {
            final List<X509CRL> lists = CertificateFactory.getInstance("X.509").generateCRLs(file).stream()
                    .map(each -> (X509CRL) each)
                    .filter(each -> each.getIssuerX500Principal().equals(shown.getIssuerX500Principal()))
                    .collect(Collectors.toList());
            return lists.isEmpty() || lists.stream().anyMatch(each -> each.isRevoked(shown));
        }
    }

    private static void allow(final ModifiableDefaultPermissions permissions, final String name) {
        permissions.setDefaultBehaviour(DefaultAuthorizationBehaviour.DENY);
        if (name.equals(RTCC)) {
            permissions.add(permit("rtcc/1/req/#", MqttActivity.PUBLISH));
            permissions.add(permit("rtcc/1/gw/#", MqttActivity.SUBSCRIBE));
            permissions.add(permit("rtcc/1/trust", MqttActivity.ALL));
            return;
        }
        permissions.add(permit("rtcc/1/req/g/" + name, MqttActivity.SUBSCRIBE));
        permissions.add(permit("rtcc/1/req/a/+", MqttActivity.SUBSCRIBE));
        permissions.add(permit("rtcc/1/trust", MqttActivity.SUBSCRIBE));
        permissions.add(permit("rtcc/1/gw/" + name + "/+", MqttActivity.PUBLISH));
    }

    private static TopicPermission permit(final String filter, final MqttActivity activity) {
        return Builders.topicPermission().topicFilter(filter).activity(activity)
                .type(TopicPermission.PermissionType.ALLOW).build();
    }
}
