// The check the edge makes of an HS256 access token, as an NGINX user would write it with njs:
// signature, issuer, audience, expiry. Returns the subject, or '' where the token is no good.
function subject(request) {
    const header = request.headersIn.Authorization || '';
    if (!header.startsWith('Bearer ')) {
        return '';
    }
    const parts = header.slice(7).split('.');
    if (parts.length !== 3) {
        return '';
    }
    try {
        const algorithm = JSON.parse(Buffer.from(parts[0], 'base64url').toString()).alg;
        const signature = require('crypto').createHmac('sha256', process.env.JWT_SECRET)
            .update(parts[0] + '.' + parts[1]).digest('base64url');
        if (algorithm !== 'HS256' || signature !== parts[2]) {
            return '';
        }
        const claims = JSON.parse(Buffer.from(parts[1], 'base64url').toString());
        const good = claims.iss === 'coditect.ai' && claims.aud === 'coditect-users' &&
            claims.exp > Date.now() / 1000;
        return good ? claims.sub : '';
    } catch (error) {
        return '';
    }
}

export default { subject };
