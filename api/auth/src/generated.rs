//! Passwords that the program thinks up.

use crate::Entropy;
use secrecy::SecretString;

/// 32 letters and digits that are not mistaken for each other, so that a byte chooses one without bias.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Groups of letters, with hyphens between them.
const GROUPS: usize = 5;
/// Letters in a group.
const GROUP: usize = 5;

/// A password of 25 letters and digits, about 120 bits, in groups that people can read to each other.
pub fn generate_password(entropy: &dyn Entropy) -> SecretString {
    let mut random = [0; GROUPS * GROUP];
    entropy.fill(&mut random);
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
    let groups: Vec<String> = random.chunks(GROUP).map(|group| group.iter().map(letter).collect()).collect();
    SecretString::from(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;
    use secrecy::ExposeSecret;

    #[test]
    fn passwords_are_readable_and_differ() {
        let entropy = SeededEntropy::new(5);
        let (one, two) = (generate_password(&entropy), generate_password(&entropy));
        assert_eq!(one.expose_secret().len(), 29);
        assert_eq!(one.expose_secret().split('-').count(), 5);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}
